//! `roadstead status`: one look at a server, as text.

use std::{fmt::Write as _, time::Duration};

use roadstead_tuning::setting::demand::grouped;

use super::{
    feed::Governed,
    said::{bytes, percent, rate, span},
    seen::{Row, State, View},
};

/// A column of the table of shards.
struct Column {
    name: &'static str,
    /// Those of the highest number stand even on the narrowest screen.
    worth: u8,
    show: fn(&Row) -> String,
}

const COLUMNS: [Column; 11] = [
    Column { name: "shard", worth: 9, show: |row| row.number.to_string() },
    Column { name: "core", worth: 1, show: |row| row.core.to_string() },
    Column { name: "load", worth: 8, show: |row| percent(row.load) },
    Column { name: "connections", worth: 7, show: |row| grouped(row.connections) },
    Column { name: "accepted", worth: 3, show: |row| rate(row.accepted) },
    Column { name: "channels", worth: 2, show: |row| grouped(row.channels) },
    Column { name: "published", worth: 6, show: |row| rate(row.publications) },
    Column { name: "delivered", worth: 6, show: |row| rate(row.deliveries) },
    Column { name: "received", worth: 4, show: |row| bytes(row.received_bytes) + "/s" },
    Column { name: "sent", worth: 5, show: |row| bytes(row.sent_bytes) + "/s" },
    Column { name: "queued", worth: 5, show: |row| bytes(row.queued_bytes as f64) },
];

/// The lines of the table of shards, the first with the names of its columns, of which there are as many as `width` holds.
pub(super) fn table(view: &View, width: usize) -> Vec<String> {
    let mut columns: Vec<_> = COLUMNS.iter().map(|column| (column, cells(column, view))).collect();
    let wide = |cells: &[String]| cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
    let all = |columns: &[(&Column, Vec<String>)]| -> usize {
        columns.iter().map(|(_, cells)| wide(cells) + GAP.len()).sum::<usize>() - GAP.len()
    };
    while all(&columns) > width && columns.len() > 1 {
        let least = columns.iter().map(|(column, _)| column.worth).min();
        columns.retain(|(column, _)| Some(column.worth) != least);
    }
    let line = |number: usize| {
        let cells = columns.iter().map(|(_, cells)| {
            let width = wide(cells);
            format!("{:>width$}", cells[number])
        });
        cells.collect::<Vec<_>>().join(GAP)
    };
    (0..=view.shards.len()).map(line).collect()
}

/// What stands between columns.
const GAP: &str = "  ";

/// The name of a column, and what stands in it for each shard.
fn cells(column: &Column, view: &View) -> Vec<String> {
    let cells = view.shards.iter().map(column.show);
    std::iter::once(column.name.to_owned()).chain(cells).collect()
}

/// The whole text, with a line break at its end.
pub(super) fn text(at: &str, view: &View, troubles: &[Governed]) -> String {
    let mut text = heading(at, view);
    for (name, line) in summary(view) {
        text.push_str(&format!("{name:<12} {line}\n"));
    }
    text.push('\n');
    for line in table(view, usize::MAX) {
        text.push_str(&line);
        text.push('\n');
    }
    if !view.busiest.is_empty() {
        text.push_str("\nbusiest channels\n");
        for channel in &view.busiest {
            let (published, delivered) = (rate(channel.publications), rate(channel.deliveries));
            writeln!(text, "  {}: {published} published, {delivered} delivered", shown(&channel.channel))
                .expect("a string takes it");
        }
    }
    for trouble in told(view, troubles) {
        writeln!(text, "\n{trouble}").expect("a string takes it");
    }
    text
}

/// Which server it is, and how it stands.
pub(super) fn heading(at: &str, view: &View) -> String {
    let about = view.process.as_ref().map(|process| {
        let up = span(Duration::from_millis(process.uptime_ms));
        format!("roadstead {} at {at}, up {up}", shown(&process.version))
    });
    format!("{}: {}\n", about.unwrap_or_else(|| format!("roadstead at {at}")), standing(view.state))
}

fn standing(state: State) -> String {
    match state {
        State::Ready => "ready".to_owned(),
        State::NotReady => "not ready: load balancers are told to send nobody".to_owned(),
        State::NoBroker => {
            "not ready: the broker that joins the nodes is away (broker.url); the log says why".to_owned()
        }
        State::Draining => "draining: its clients are told to go".to_owned(),
        State::Silent(silent, all) => format!("{silent} of {all} shards do not answer"),
    }
}

/// How much there is of everything, by name.
pub(super) fn summary(view: &View) -> Vec<(&'static str, String)> {
    let Row { connections, connections_max, .. } = view.sum;
    let full = connections as f64 / connections_max.max(1) as f64;
    let of_kind = |(one, many, number): &(&str, &str, u64)| match number {
        0 => None,
        1 => Some(format!("1 {one}")),
        _ => Some(format!("{} {many}", grouped(*number))),
    };
    let mut kinds: Vec<_> = view.sessions.iter().filter_map(of_kind).collect();
    if view.sum.sockets > 0 {
        kinds.push(format!("{} Socket.IO sockets", grouped(view.sum.sockets)));
    }
    let kinds = if kinds.is_empty() { String::new() } else { format!(": {}", kinds.join(", ")) };
    let (now, most) = (grouped(connections), grouped(connections_max));
    let mut lines = vec![
        ("connections", format!("{now} of {most} ({}){kinds}", percent(full))),
        ("channels", {
            let (channels, subscriptions) = (grouped(view.sum.channels), grouped(view.sum.subscriptions));
            format!("{channels}, followed by {subscriptions} subscriptions")
        }),
        ("traffic", {
            let (published, delivered) = (rate(view.sum.publications), rate(view.sum.deliveries));
            let (received, sent) = (bytes(view.sum.received_bytes), bytes(view.sum.sent_bytes));
            format!("{published} published, {delivered} delivered; {received}/s received, {sent}/s sent")
        }),
    ];
    if let Some(process) = &view.process {
        let kernel = process.kernel_bytes.map(|kernel| format!(", {} in the kernel", bytes(kernel as f64)));
        let (resident, kernel) = (bytes(process.resident_bytes as f64), kernel.unwrap_or_default());
        let queued = bytes(view.sum.queued_bytes as f64);
        lines.push(("memory", format!("{resident} resident{kernel}; {queued} wait to be read")));
        let (open, most) = (grouped(process.open_descriptors), grouped(process.descriptors_max));
        lines.push(("descriptors", format!("{open} of {most}, without connections")));
    }
    lines
}

/// What has gone wrong since the look before, each with the setting that governs it.
pub(super) fn told(view: &View, troubles: &[Governed]) -> Vec<String> {
    let line = |(number, times): &(usize, u64)| {
        let Governed { label, setting } = troubles.get(*number)?;
        let governed = if setting.is_empty() { String::new() } else { format!(" ({setting})") };
        Some(shown(&format!("{} × {label}{governed}", grouped(*times))))
    };
    view.troubles.iter().filter_map(line).collect()
}

/// What others choose, without what would move a terminal's cursor.
pub(super) fn shown(name: &str) -> String {
    name.chars().map(|one| if one.is_control() { '\u{fffd}' } else { one }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::watch::seen::tests::looks;

    #[test]
    fn a_server_is_told_in_a_page_of_text() {
        let [before, now] = looks();
        let governed = |label: &str, setting: &str| Governed { label: label.into(), setting: setting.into() };
        let troubles =
            [governed("refused", "limits.connections_max"), governed("too slow", "limits.send_queue")];
        let text = text("127.0.0.1:8081", &View::between(&before, &now), &troubles);
        let expected = "\
roadstead 0.1.0 at 127.0.0.1:8081, up 1 min 1 s: ready
connections  13 of 20,000 (0 %): 2 of HTTP, 11 WebSockets
";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("\n    0     0  50 %           12 "), "{text}");
        let narrow = table(&View::between(&before, &now), 40);
        assert_eq!(narrow[0], "shard  load  connections");
        assert!(text.contains("\n  news: 2.0/s published, 4,000/s delivered\n"), "{text}");
        assert!(text.ends_with("\n4 × too slow (limits.send_queue)\n"), "{text}");
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(shown("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
    }
}
