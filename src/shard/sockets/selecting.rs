//! Many sockets at once: done or told bit by bit, so many looks at sockets a turn.
//!
//! ```text
//!   rooms        a              b                  c
//!   sockets  [ 3 7 9 ]   [ 2 7 ▲ 12 31 ]    not looked up yet       7 is passed over in b: it is in a
//!                              └ so far
//! ```
//!
//! A request that finds nothing before it and is short enough is done at once, in the order of what its issuer asks for;
//! a longer one goes on in the turns that follow, behind those that came before it. Who leaves a room before its turn is
//! not selected, and who joins may be.
//!
//! Invariant: a socket is selected once at most, by the first room of the request that it is in.

use std::{collections::VecDeque, rc::Rc, slice, vec};

use super::{Engines, Shard, Socket, State, is_in};
use crate::{
    app::socketio::{Gathering, Order},
    hub::Hub,
    limits::{SELECTIONS_MAX, SOCKETS_PER_TURN},
    mesh::{Selection, SocketCommand, SocketSummary, SocketsAnswer, Told},
    model::{ChannelName, Issuer, ShardId, SocketId, Transport, Work, lone_socket},
    shard::work::Turn,
};

/// The requests about many sockets that are under way on a shard, oldest first.
#[derive(Default)]
pub(super) struct Selecting {
    queue: VecDeque<Request>,
    /// How many have been queued, and how many of those are through.
    begun: u64,
    finished: u64,
    /// How many of those in the queue are commands.
    commands: usize,
    /// Looks taken in this turn.
    taken: usize,
}

/// One request.
pub(super) struct Request {
    /// The shard that is answered.
    from: ShardId,
    selection: Selection,
    task: Task,
    /// How many of the rooms have been looked up.
    rooms_begun: usize,
    /// Those subscribed to the last of these who have not been looked at.
    subscribers: vec::IntoIter<u32>,
    count: u32,
    sockets: Vec<SocketSummary>,
}

/// What is done with the sockets.
pub(super) enum Task {
    /// This, to each.
    Command(SocketCommand),
    /// They are sent an event, and their acknowledgements are gathered.
    Ask(Rc<Gathering>),
    /// They are told.
    Tell {
        /// The question.
        token: u64,
        /// At most this many.
        limit: u32,
        /// What of them.
        told: Told,
    },
}

impl Selecting {
    /// A turn begins.
    pub(super) fn begin_turn(&mut self) {
        self.taken = 0;
    }

    /// The number of the last request in the queue, if a command is in it.
    pub(super) fn commanding(&self) -> Option<u64> {
        (self.commands > 0).then_some(self.begun)
    }

    /// Whether a request is through.
    pub(super) fn has_finished(&self, number: u64) -> bool {
        self.finished >= number
    }

    fn push(&mut self, request: Request) {
        self.begun += 1;
        self.commands += usize::from(request.is_command());
        self.queue.push_back(request);
    }

    fn note_finished(&mut self, request: &Request) {
        self.finished += 1;
        self.commands -= usize::from(request.is_command());
    }

    /// Whether no request is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

impl Request {
    fn new(from: ShardId, selection: Selection, task: Task) -> Self {
        let (subscribers, sockets) = (Vec::new().into_iter(), Vec::new());
        Self { from, selection, task, rooms_begun: 0, subscribers, count: 0, sockets }
    }

    fn rooms(&self) -> &[ChannelName] {
        match &self.selection.rooms[..] {
            [] => slice::from_ref(&self.selection.namespace),
            rooms => rooms,
        }
    }

    fn is_command(&self) -> bool {
        matches!(self.task, Task::Command(_) | Task::Ask(_))
    }

    /// How many looks at sockets one more of them is worth.
    fn weight(&self) -> usize {
        match &self.task {
            Task::Command(SocketCommand::Join(rooms) | SocketCommand::Leave(rooms)) => 1 + 2 * rooms.len(),
            Task::Command(SocketCommand::Emit { .. } | SocketCommand::Acknowledge { .. }) | Task::Ask(_) => 4,
            Task::Command(SocketCommand::Keep(_)) => 1,
            Task::Command(SocketCommand::Disconnect { .. } | SocketCommand::PutOut) => 8,
            Task::Tell { told: Told::Count | Told::Ids, .. } => 1,
            Task::Tell { told: Told::Summaries, .. } => 4,
        }
    }

    /// Whether as many have been told as were asked for.
    fn is_full(&self) -> bool {
        matches!(self.task, Task::Tell { limit, told: Told::Ids | Told::Summaries, .. } if self.count >= limit)
    }
}

impl Engines {
    /// Whether a socket is meant, and by the room that is being looked at, in which it still is.
    fn is_selected(&self, hub: &Hub, request: &Request, index: u32) -> bool {
        // As by its id, something is done to one whose client is away; who asks is told of those who are there.
        let is_meant = |socket: &Socket| {
            socket.state.is_in() || (socket.state == State::Away && matches!(request.task, Task::Command(_)))
        };
        if !self.sockets.get(index).is_some_and(is_meant) {
            return false;
        }
        let id = self.id_of(index);
        let Some((room, before)) = request.rooms()[..request.rooms_begun].split_last() else { return false };
        let except = &request.selection.except;
        request.selection.except_socket != Some(id)
            && is_in(hub, id, room)
            && !before.iter().chain(except).any(|room| is_in(hub, id, room))
    }

    fn subscribers_of(&self, hub: &Hub, room: &ChannelName) -> Vec<u32> {
        match lone_socket(room) {
            Some(id) => self.own_subscriber(id).into_iter().collect(),
            None => hub.subscribers(room, Transport::SocketIo).collect(),
        }
    }

    /// What a socket of this shard subscribes as.
    fn own_subscriber(&self, id: SocketId) -> Option<u32> {
        (id.shard == self.shard && self.socket(id).is_some()).then_some(id.subscriber().index)
    }

    fn summary(&self, hub: &Hub, index: u32) -> SocketSummary {
        let id = self.id_of(index);
        SocketSummary {
            id,
            rooms: self.rooms_of(hub, index),
            is_on_websocket: self.io.is_on_websocket(id),
            data: self.io.data(id),
        }
    }

    fn take_looks(&mut self, work: &mut Turn, looks: usize) {
        self.selecting.taken += looks;
        work.count(Work::Sockets, looks);
    }
}

impl Shard {
    /// Begins a request, and finishes it if it is short and none is before it.
    pub(super) fn begin_selecting(&mut self, from: ShardId, selection: Selection, task: Task) {
        let mut request = Request::new(from, selection, task);
        if self.engines.selecting.is_empty() && self.go_on_selecting(&mut request, SOCKETS_PER_TURN) {
            return self.finish_selecting(request);
        }
        self.engines.selecting.push(request);
        // So many cannot wait: the oldest is done whole, and nothing is lost.
        if self.engines.selecting.queue.len() > SELECTIONS_MAX {
            self.select_whole();
        }
    }

    /// Does the oldest request whole.
    fn select_whole(&mut self) {
        if let Some(mut oldest) = self.engines.selecting.queue.pop_front() {
            self.go_on_selecting(&mut oldest, usize::MAX);
            self.engines.selecting.note_finished(&oldest);
            self.finish_selecting(oldest);
        }
    }

    /// Goes on with the requests under way, as far as this turn may.
    pub(in crate::shard) fn continue_selecting(&mut self) {
        while let Some(mut request) = self.engines.selecting.queue.pop_front() {
            if !self.go_on_selecting(&mut request, SOCKETS_PER_TURN) {
                return self.engines.selecting.queue.push_front(request);
            }
            self.engines.selecting.note_finished(&request);
            self.finish_selecting(request);
        }
    }

    /// Goes on with one request until the turn has taken so many looks; tells whether it is through.
    fn go_on_selecting(&mut self, request: &mut Request, looks_max: usize) -> bool {
        while self.engines.selecting.taken < looks_max {
            if request.is_full() {
                return true;
            }
            match request.subscribers.next() {
                Some(subscriber) => self.look_at(request, subscriber),
                None => {
                    let Some(room) = request.rooms().get(request.rooms_begun) else { return true };
                    request.subscribers = self.engines.subscribers_of(&self.hub, room).into_iter();
                    request.rooms_begun += 1;
                    self.engines.take_looks(&mut self.work, 1);
                }
            }
        }
        false
    }

    fn look_at(&mut self, request: &mut Request, subscriber: u32) {
        let rooms = request.rooms().len() + request.selection.except.len();
        self.engines.take_looks(&mut self.work, 1 + rooms);
        let Some(index) = SocketId::index_of(subscriber)
            .filter(|index| self.engines.is_selected(&self.hub, request, *index))
        else {
            return;
        };
        self.engines.take_looks(&mut self.work, request.weight());
        request.count += 1;
        match &request.task {
            Task::Ask(gathering) => {
                let gathering = Rc::clone(gathering);
                self.ask_gathering(index, &gathering);
            }
            Task::Command(command) => {
                let (id, command) = (self.engines.id_of(index), command.clone());
                self.engines.io.moves(id, &command);
                self.handle_socket_command(id, command);
            }
            Task::Tell { told: Told::Count, .. } => {}
            Task::Tell { told: Told::Ids, .. } => {
                let id = self.engines.id_of(index);
                request.sockets.push(SocketSummary {
                    id,
                    rooms: Vec::new(),
                    is_on_websocket: false,
                    data: Box::default(),
                });
            }
            Task::Tell { told: Told::Summaries, .. } => {
                let summary = self.engines.summary(&self.hub, index);
                self.engines.take_looks(&mut self.work, summary.rooms.len());
                request.sockets.push(summary);
            }
        }
    }

    /// Sends a socket an event whose acknowledgement is gathered.
    fn ask_gathering(&mut self, index: u32, gathering: &Rc<Gathering>) {
        let id = self.engines.id_of(index);
        let Some(namespace) = self.engines.sockets.get(index).map(|socket| socket.namespace) else { return };
        let Some(ack) = self.engines.io.gather_of(id, namespace, gathering) else { return };
        let (arguments, is_volatile) = (gathering.arguments.clone(), gathering.is_volatile);
        self.obey(Issuer::Shard, Order::Emit { socket: id, arguments, ack, is_volatile });
    }

    fn finish_selecting(&mut self, request: Request) {
        if let Task::Tell { token, .. } = request.task {
            let Request { count, sockets, .. } = request;
            let answer = SocketsAnswer { token, count, sockets, arguments: None, acks: Vec::new() };
            self.answer_shard(request.from, answer);
        } else if let Task::Ask(gathering) = &request.task {
            gathering.finish_asking();
        }
        self.run_orders();
    }
}
