//! Statistics of one cgroup, in the two message formats containerd reads.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use containerd_shim_protos::cgroups::metrics as v1;
use containerd_shim_protos::cgroups_v2::metrics as v2;
use protobuf::well_known_types::any::Any;
use protobuf::{Message, MessageField};

use crate::cgroup::{Cgroup, limit, number, table};

/// Kernel ticks per second of the `cpuacct.stat` file (`USER_HZ`, fixed at 100 on Linux).
const NANOS_PER_TICK: u64 = 1_000_000_000 / 100;

/// The statistics of `cgroup` as an `Any` of the type its version has.
///
/// # Errors
///
/// `InvalidData` if the message does not encode.
pub(crate) fn collect(cgroup: &Cgroup) -> io::Result<Any> {
    let (type_url, bytes) = match cgroup {
        Cgroup::V1(controllers) => (
            "io.containerd.cgroups.v1.Metrics",
            version_1(controllers).write_to_bytes(),
        ),
        Cgroup::V2(dir) => (
            "io.containerd.cgroups.v2.Metrics",
            version_2(dir).write_to_bytes(),
        ),
    };
    let value = bytes.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(Any {
        type_url: type_url.to_owned(),
        value,
        ..Any::default()
    })
}

fn version_1(controllers: &BTreeMap<String, PathBuf>) -> v1::Metrics {
    let mut metrics = v1::Metrics::new();
    if let Some(dir) = controllers.get("pids") {
        metrics.pids = some(v1::PidsStat {
            current: number(dir, "pids.current").unwrap_or(0),
            // The stock shim reports "no limit" as zero here.
            limit: number(dir, "pids.max").unwrap_or(0),
            ..v1::PidsStat::default()
        });
    }
    if let Some(dir) = controllers
        .get("cpuacct")
        .or_else(|| controllers.get("cpu"))
    {
        metrics.cpu = some(cpu_1(dir, controllers.get("cpu").unwrap_or(dir)));
    }
    if let Some(dir) = controllers.get("memory") {
        metrics.memory = some(memory_1(dir));
        let oom = table(dir, "memory.oom_control");
        metrics.memory_oom_control = some(v1::MemoryOomControl {
            oom_kill_disable: value(&oom, "oom_kill_disable"),
            under_oom: value(&oom, "under_oom"),
            oom_kill: value(&oom, "oom_kill"),
            ..v1::MemoryOomControl::default()
        });
    }
    metrics
}

fn cpu_1(accounting: &Path, control: &Path) -> v1::CPUStat {
    let ticks = table(accounting, "cpuacct.stat");
    let per_cpu =
        std::fs::read_to_string(accounting.join("cpuacct.usage_percpu")).unwrap_or_default();
    let throttling = table(control, "cpu.stat");
    v1::CPUStat {
        usage: some(v1::CPUUsage {
            total: number(accounting, "cpuacct.usage").unwrap_or(0),
            kernel: value(&ticks, "system").saturating_mul(NANOS_PER_TICK),
            user: value(&ticks, "user").saturating_mul(NANOS_PER_TICK),
            per_cpu: per_cpu
                .split_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect(),
            ..v1::CPUUsage::default()
        }),
        throttling: some(v1::Throttle {
            periods: value(&throttling, "nr_periods"),
            throttled_periods: value(&throttling, "nr_throttled"),
            throttled_time: value(&throttling, "throttled_time"),
            ..v1::Throttle::default()
        }),
        ..v1::CPUStat::default()
    }
}

fn memory_1(dir: &Path) -> v1::MemoryStat {
    let stat = table(dir, "memory.stat");
    let entry = |prefix: &str| {
        some(v1::MemoryEntry {
            usage: number(dir, &format!("{prefix}.usage_in_bytes")).unwrap_or(0),
            max: number(dir, &format!("{prefix}.max_usage_in_bytes")).unwrap_or(0),
            failcnt: number(dir, &format!("{prefix}.failcnt")).unwrap_or(0),
            limit: number(dir, &format!("{prefix}.limit_in_bytes")).unwrap_or(0),
            ..v1::MemoryEntry::default()
        })
    };
    v1::MemoryStat {
        cache: value(&stat, "cache"),
        rss: value(&stat, "rss"),
        rss_huge: value(&stat, "rss_huge"),
        mapped_file: value(&stat, "mapped_file"),
        dirty: value(&stat, "dirty"),
        writeback: value(&stat, "writeback"),
        pg_pg_in: value(&stat, "pgpgin"),
        pg_pg_out: value(&stat, "pgpgout"),
        pg_fault: value(&stat, "pgfault"),
        pg_maj_fault: value(&stat, "pgmajfault"),
        inactive_anon: value(&stat, "inactive_anon"),
        active_anon: value(&stat, "active_anon"),
        inactive_file: value(&stat, "inactive_file"),
        active_file: value(&stat, "active_file"),
        unevictable: value(&stat, "unevictable"),
        hierarchical_memory_limit: value(&stat, "hierarchical_memory_limit"),
        hierarchical_swap_limit: value(&stat, "hierarchical_memsw_limit"),
        total_cache: value(&stat, "total_cache"),
        total_rss: value(&stat, "total_rss"),
        total_rss_huge: value(&stat, "total_rss_huge"),
        total_mapped_file: value(&stat, "total_mapped_file"),
        total_dirty: value(&stat, "total_dirty"),
        total_writeback: value(&stat, "total_writeback"),
        total_pg_pg_in: value(&stat, "total_pgpgin"),
        total_pg_pg_out: value(&stat, "total_pgpgout"),
        total_pg_fault: value(&stat, "total_pgfault"),
        total_pg_maj_fault: value(&stat, "total_pgmajfault"),
        total_inactive_anon: value(&stat, "total_inactive_anon"),
        total_active_anon: value(&stat, "total_active_anon"),
        total_inactive_file: value(&stat, "total_inactive_file"),
        total_active_file: value(&stat, "total_active_file"),
        total_unevictable: value(&stat, "total_unevictable"),
        usage: entry("memory"),
        swap: entry("memory.memsw"),
        kernel: entry("memory.kmem"),
        kernel_tcp: entry("memory.kmem.tcp"),
        ..v1::MemoryStat::default()
    }
}

fn version_2(dir: &Path) -> v2::Metrics {
    let cpu = table(dir, "cpu.stat");
    let events = table(dir, "memory.events");
    v2::Metrics {
        pids: some(v2::PidsStat {
            current: number(dir, "pids.current").unwrap_or(0),
            limit: limit(dir, "pids.max"),
            ..v2::PidsStat::default()
        }),
        cpu: some(v2::CPUStat {
            usage_usec: value(&cpu, "usage_usec"),
            user_usec: value(&cpu, "user_usec"),
            system_usec: value(&cpu, "system_usec"),
            nr_periods: value(&cpu, "nr_periods"),
            nr_throttled: value(&cpu, "nr_throttled"),
            throttled_usec: value(&cpu, "throttled_usec"),
            nr_bursts: value(&cpu, "nr_bursts"),
            burst_usec: value(&cpu, "burst_usec"),
            ..v2::CPUStat::default()
        }),
        memory: some(memory_2(dir)),
        memory_events: some(v2::MemoryEvents {
            low: value(&events, "low"),
            high: value(&events, "high"),
            max: value(&events, "max"),
            oom: value(&events, "oom"),
            oom_kill: value(&events, "oom_kill"),
            oom_group_kill: value(&events, "oom_group_kill"),
            ..v2::MemoryEvents::default()
        }),
        io: some(io_2(dir)),
        ..v2::Metrics::default()
    }
}

fn memory_2(dir: &Path) -> v2::MemoryStat {
    let stat = table(dir, "memory.stat");
    v2::MemoryStat {
        anon: value(&stat, "anon"),
        file: value(&stat, "file"),
        kernel_stack: value(&stat, "kernel_stack"),
        slab: value(&stat, "slab"),
        sock: value(&stat, "sock"),
        shmem: value(&stat, "shmem"),
        file_mapped: value(&stat, "file_mapped"),
        file_dirty: value(&stat, "file_dirty"),
        file_writeback: value(&stat, "file_writeback"),
        anon_thp: value(&stat, "anon_thp"),
        inactive_anon: value(&stat, "inactive_anon"),
        active_anon: value(&stat, "active_anon"),
        inactive_file: value(&stat, "inactive_file"),
        active_file: value(&stat, "active_file"),
        unevictable: value(&stat, "unevictable"),
        slab_reclaimable: value(&stat, "slab_reclaimable"),
        slab_unreclaimable: value(&stat, "slab_unreclaimable"),
        pgfault: value(&stat, "pgfault"),
        pgmajfault: value(&stat, "pgmajfault"),
        workingset_refault: value(&stat, "workingset_refault"),
        workingset_activate: value(&stat, "workingset_activate"),
        workingset_nodereclaim: value(&stat, "workingset_nodereclaim"),
        pgrefill: value(&stat, "pgrefill"),
        pgscan: value(&stat, "pgscan"),
        pgsteal: value(&stat, "pgsteal"),
        pgactivate: value(&stat, "pgactivate"),
        pgdeactivate: value(&stat, "pgdeactivate"),
        pglazyfree: value(&stat, "pglazyfree"),
        pglazyfreed: value(&stat, "pglazyfreed"),
        thp_fault_alloc: value(&stat, "thp_fault_alloc"),
        thp_collapse_alloc: value(&stat, "thp_collapse_alloc"),
        usage: number(dir, "memory.current").unwrap_or(0),
        usage_limit: limit(dir, "memory.max"),
        max_usage: number(dir, "memory.peak").unwrap_or(0),
        swap_usage: number(dir, "memory.swap.current").unwrap_or(0),
        swap_limit: limit(dir, "memory.swap.max"),
        swap_max_usage: number(dir, "memory.swap.peak").unwrap_or(0),
        ..v2::MemoryStat::default()
    }
}

/// `io.stat`: lines `MAJOR:MINOR name=value …`.
fn io_2(dir: &Path) -> v2::IOStat {
    let text = std::fs::read_to_string(dir.join("io.stat")).unwrap_or_default();
    let usage = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let values: BTreeMap<String, u64> = words
            .filter_map(|word| word.split_once('='))
            .filter_map(|(name, number)| Some((name.to_owned(), number.parse().ok()?)))
            .collect();
        Some(v2::IOEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            rbytes: value(&values, "rbytes"),
            wbytes: value(&values, "wbytes"),
            rios: value(&values, "rios"),
            wios: value(&values, "wios"),
            ..v2::IOEntry::default()
        })
    });
    v2::IOStat {
        usage: usage.collect(),
        ..v2::IOStat::default()
    }
}

fn value(table: &BTreeMap<String, u64>, name: &str) -> u64 {
    table.get(name).copied().unwrap_or(0)
}

fn some<T>(value: T) -> MessageField<T> {
    MessageField::some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_version_2_figures() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("pids.current", "3\n");
        write("pids.max", "max\n");
        write("memory.current", "4096\n");
        write(
            "io.stat",
            "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n",
        );
        let any = collect(&Cgroup::V2(dir.path().to_owned())).unwrap();
        assert_eq!(any.type_url, "io.containerd.cgroups.v2.Metrics");
        let metrics = v2::Metrics::parse_from_bytes(&any.value).unwrap();
        assert_eq!((metrics.pids.current, metrics.pids.limit), (3, u64::MAX));
        assert_eq!(metrics.memory.usage, 4096);
        assert_eq!(metrics.io.usage[0].wbytes, 20);
    }

    #[test]
    fn reports_version_1_figures() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cpuacct.usage"), "77\n").unwrap();
        std::fs::write(dir.path().join("cpuacct.stat"), "user 2\nsystem 1\n").unwrap();
        let controllers = [("cpuacct".to_owned(), dir.path().to_owned())].into();
        let any = collect(&Cgroup::V1(controllers)).unwrap();
        let metrics = v1::Metrics::parse_from_bytes(&any.value).unwrap();
        assert_eq!(metrics.cpu.usage.total, 77);
        assert_eq!(metrics.cpu.usage.user, 20_000_000);
    }
}
