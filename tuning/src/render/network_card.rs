//! Commands for the network card: queues, interrupts, masks, coalescing.

use crate::setting::{CpuMask, Profile, Scene};

/// Commands for every card of this host, commented; nothing runs them but a person.
pub fn commands(scene: &Scene<'_>) -> String {
    let mut text = String::from("#!/bin/sh\n");
    text += &super::heading(scene, "ethtool");
    text += "# Look first: ethtool -l DEV (queues), -g DEV (rings), -c DEV (coalescing).\n";
    if scene.facts.nics.is_empty() {
        text += "# No card with a device behind it is visible from here: ask the host, or run this outside the container.\n";
    }
    for nic in &scene.facts.nics {
        text += &card(scene, &nic.name, nic.receive_queues);
    }
    text
}

fn card(scene: &Scene<'_>, name: &str, queues: u32) -> String {
    let cpus = scene.facts.cpus;
    let mut text = format!("\n# {name}: {queues} receive queue(s), {cpus} CPUs\n");
    if queues < cpus {
        text +=
            "# One receive queue per CPU, if the card has them. The card is reset: some packets are lost.\n";
        text += &format!("ethtool -L {name} combined {cpus}\n");
        text +=
            "# If it has not, spread packets in software. Costs an interrupt between CPUs for each batch.\n";
        let mask = CpuMask::default().with(0..cpus);
        for queue in 0..queues {
            text += &format!("echo {mask} > /sys/class/net/{name}/queues/rx-{queue}/rps_cpus\n");
        }
    } else {
        text += "# Queue i to CPU i. Stop irqbalance first, or it moves them again.\n";
        text += &format!(
            "cpu=0; for irq in $(ls /sys/class/net/{name}/device/msi_irqs); do\n  echo $((cpu % {cpus})) > /proc/irq/$irq/smp_affinity_list; cpu=$((cpu + 1))\ndone\n"
        );
    }
    text += "# Transmit queue i for CPU i, where the driver has not done so.\n";
    for cpu in 0..cpus {
        let mask = CpuMask::default().with([cpu]);
        text += &format!("echo {mask} > /sys/class/net/{name}/queues/tx-{cpu}/xps_cpus\n");
    }
    text += "# Rings as large as the card allows absorb bursts; the price is cache.\n";
    text += &format!("ethtool -G {name} rx $(ethtool -g {name} | awk '/^RX:/ {{ print $2; exit }}')\n");
    text + &coalescing(scene.goal.profile, name)
}

fn coalescing(profile: Profile, name: &str) -> String {
    match profile {
        Profile::Latency => format!(
            "# Interrupts soon: each microsecond here is one of the median.\nethtool -C {name} adaptive-rx off rx-usecs 8\n"
        ),
        Profile::Idle | Profile::Storm | Profile::Throughput => {
            format!(
                "# Let the driver choose between few interrupts and quick ones.\nethtool -C {name} adaptive-rx on\n"
            )
        }
    }
}
