//! What the shard says of itself to those who ask: its report, and for those who watch how it has been as well.

use super::turn::Shard;
use crate::{
    app::{Reply, guard::panics},
    mesh::{BusyChannel, Load, Look, Message, ShardReport, Survey},
    model::{ShardId, Ticket},
};

impl Shard {
    /// All counters and gauges as they are now.
    pub(super) fn whole_report(&self) -> ShardReport {
        let mut report = self.report.clone();
        report.handler_panics_total = panics();
        self.hub.report(&mut report);
        self.lines.report(&mut report);
        self.engines.report(&mut report);
        self.report_cluster(&mut report);
        if let Some(notices) = &self.notices {
            let [delivered, dropped, failures] = notices.counted();
            (report.notices_total, report.notice_failures_total) = ([delivered, dropped], failures);
            report.notices_waiting = notices.waiting() as u32;
        }
        report.partial_input_bytes = self.partial.bytes();
        report.publications_refused_total += self.report.publications_refused_total;
        report.connections_max = self.room.total();
        report.steered_permille = self.pulse.share_permille();
        report.mesh_depth = self.peers.queued() as u32;
        report
    }

    /// Shows the supervisor how much there is to do.
    pub(super) fn show_load(&mut self) {
        let busy_us = self.rest.busy_us(self.now.monotonic_ms, self.report.busy_us_total);
        let (clients, accepted) = (self.clients(), self.report.accepted_total);
        self.pulse.show(Load { clients, accepted, busy_us });
    }

    /// Somebody asks how it is.
    pub(super) fn answer_survey(&mut self, ticket: Ticket, from: ShardId) {
        let report = self.whole_report();
        self.answer_from(ticket, from, Survey::Shard(Box::new(report)));
    }

    /// Somebody watches.
    pub(super) fn answer_look(
        &mut self,
        ticket: Ticket,
        from: ShardId,
        busiest: Vec<BusyChannel>,
        with_past: bool,
    ) {
        let past = if with_past { self.past.samples() } else { Vec::new() };
        let look = Look { report: self.whole_report(), busiest, origins: self.addresses.busiest(), past };
        self.answer_from(ticket, from, Survey::Look(Box::new(look)));
    }

    fn answer_from(&mut self, ticket: Ticket, from: ShardId, survey: Survey) {
        if from == self.id {
            self.tell(ticket, Reply::Survey { survey });
        } else {
            self.send_mesh(from, Message::Answer { ticket, survey });
        }
    }
}
