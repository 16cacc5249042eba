//! [`Sources`]: everything that metrics are read from, and the text that Prometheus gets.
//!
//! What is counted by call was counted before; the rest is looked up when somebody asks.

use std::{collections::BTreeMap, fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, NoLabelSet, prometheus_text},
    metrics::MetricType,
    registry::{Registry, Unit},
};
use tokio::runtime::RuntimeMetrics;
use wippy_registry::EntryId;
use wippy_security::{CallMetrics, DurationCounts, Function, PoolCounts};

use super::Metrics;
use crate::live::Live;

/// What metrics are read from.
pub(crate) struct Sources {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) live: Arc<Live>,
    pub(crate) scheduler: RuntimeMetrics,
}

impl Sources {
    /// The metrics as they are now, in the text format of Prometheus.
    ///
    /// # Errors
    /// When text cannot be written, which a string always can.
    pub(super) fn text(&self) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("wippy");
        registry.register_collector(Box::new(self.look()));
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry)?;
        Ok(text)
    }

    fn look(&self) -> Look {
        let dispatcher = self.live.dispatcher();
        let functions = dispatcher.functions();
        let function = |function: &Arc<Function>| Row {
            id: function.id().clone(),
            calls: self.metrics.calls(function.id()),
            pool: function.pool(),
        };
        let services = self.metrics.all_services().into_iter();
        let mut running: BTreeMap<EntryId, Processes> = BTreeMap::new();
        for record in dispatcher.processes().all() {
            let processes = running.entry(record.entry()).or_default();
            processes.running += 1;
            processes.messages += record.waiting();
        }
        let engine = self.live.ground().engine();
        Look {
            functions: functions.iter().map(function).collect(),
            services: services
                .map(|(id, metrics)| Service {
                    id,
                    durations: metrics.durations.counts(),
                    running: metrics.running.load(std::sync::atomic::Ordering::Relaxed),
                    answers: metrics.answers().collect(),
                })
                .collect(),
            running,
            processes: dispatcher.processes().counts(),
            refusals: dispatcher.refusals(),
            instances: engine.as_ref().map(|engine| engine.instances()),
            prepared: engine.as_ref().map(|engine| engine.prepared()),
            scheduler: self.scheduler.clone(),
        }
    }
}

/// What one look finds.
#[derive(Debug)]
struct Look {
    functions: Vec<Row>,
    services: Vec<Service>,
    running: BTreeMap<EntryId, Processes>,
    processes: wippy_security::ProcessCounts,
    refusals: u64,
    instances: Option<(usize, usize)>,
    prepared: Option<wippy_wasm::Prepared>,
    scheduler: RuntimeMetrics,
}

/// One function.
#[derive(Debug)]
struct Row {
    id: EntryId,
    calls: Arc<CallMetrics>,
    pool: Option<PoolCounts>,
}

/// One HTTP service.
#[derive(Debug)]
struct Service {
    id: EntryId,
    durations: DurationCounts,
    running: usize,
    answers: Vec<(&'static str, u64)>,
}

/// The processes of one entry.
#[derive(Debug, Default)]
struct Processes {
    running: usize,
    messages: usize,
}

impl Collector for Look {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut encoder;
        info(out)?;
        self.calls(out)?;
        counter(
            out,
            "refusals",
            "Actions that the guard refused, calls among them",
            self.refusals,
        )?;
        self.pools(out)?;
        self.engine(out)?;
        self.processes(out)?;
        self.http(out)?;
        self.scheduler(out)
    }
}

impl Look {
    fn calls(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let durations: Vec<_> = self
            .functions
            .iter()
            .map(|row| ([("entry", row.id.as_str())], row.calls.durations()))
            .collect();
        counters(
            out,
            "calls",
            "Calls that ended",
            durations
                .iter()
                .map(|(labels, durations)| (*labels, durations.count())),
        )?;
        // A kind that never occurred is not there, as there are many entries and few kinds that each of them has.
        let errors = self.functions.iter().flat_map(|row| {
            let errors = row.calls.errors().filter(|(_, count)| *count > 0);
            errors.map(|(kind, count)| ([("entry", row.id.as_str()), ("kind", kind.as_str())], count))
        });
        counters(
            out,
            "call_errors",
            "Calls that failed, by the kind of the error",
            errors,
        )?;
        histograms(
            out,
            "call_duration",
            "Time from the begin of a call to its end, waiting for an instance included",
            durations.iter().map(|(labels, durations)| (*labels, durations)),
        )
    }

    fn pools(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let pools = || {
            let rows = self.functions.iter();
            rows.filter_map(|row| Some(([("entry", row.id.as_str())], row.pool.as_ref()?)))
        };
        let waits = pools().map(|(labels, pool)| (labels, &pool.waits));
        histograms(
            out,
            "queue_wait",
            "Time that calls waited until they could run, for those that had to",
            waits,
        )?;
        let waiting = pools().map(|(labels, pool)| (labels, pool.waiting));
        gauges(
            out,
            "calls_waiting",
            "Calls that wait until they can run",
            waiting,
        )?;
        let instances = pools().flat_map(|(labels, pool)| {
            let [entry] = labels;
            [
                ([entry, ("state", "active")], pool.running),
                ([entry, ("state", "idle")], pool.idle),
            ]
        });
        gauges(
            out,
            "instances",
            "Instances of guests and states of scripts, by whether a call uses them",
            instances,
        )?;
        let created = pools().map(|(labels, pool)| (labels, pool.created));
        counters(
            out,
            "instances_created",
            "Instances and states that were made since the entry changed last",
            created,
        )?;
        let memory = pools().map(|(labels, pool)| (labels, pool.memory_bytes));
        gauges_in(
            out,
            "instance_memory",
            "Memory of all instances of a guest, or of the idle states of a script",
            &Unit::Bytes,
            memory,
        )?;
        let origins = pools().filter_map(|(labels, pool)| {
            let [entry] = labels;
            Some(([entry, ("source", pool.origin?)], 1_u64))
        });
        gauges(
            out,
            "module_source",
            "Where the code of an entry came from: compiled, the compilation cache, or another entry that shares it",
            origins,
        )
    }

    fn engine(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (alive, max) = self.instances.unwrap_or_default();
        gauge(out, "engine_instances", "Instances of all guests", alive)?;
        gauge(
            out,
            "engine_instances_max",
            "Instances that there may be at once",
            max,
        )?;
        let prepared = self.prepared.unwrap_or_default();
        counter(
            out,
            "compilations",
            "Components that were compiled",
            prepared.compiled,
        )?;
        counter(
            out,
            "compilation_cache_hits",
            "Components that were loaded from the compilation cache",
            prepared.loaded,
        )
    }

    fn processes(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let running = || {
            let entries = self.running.iter();
            entries.map(|(id, processes)| ([("entry", id.as_str())], processes))
        };
        let count = running().map(|(labels, processes)| (labels, processes.running));
        gauges(out, "processes", "Processes that run", count)?;
        let messages = running().map(|(labels, processes)| (labels, processes.messages));
        gauges(
            out,
            "mailbox_messages",
            "Messages in the mailboxes of an entry's processes",
            messages,
        )?;
        let counts = &self.processes;
        counter(
            out,
            "processes_started",
            "Processes that were started",
            counts.started,
        )?;
        counter(out, "processes_ended", "Processes that ended", counts.ended)?;
        counter(
            out,
            "processes_failed",
            "Processes that ended with an error",
            counts.failed,
        )?;
        counter(
            out,
            "mailbox_dropped_messages",
            "Messages that nobody will receive: sent to a process that had ended, or waiting when it did",
            counts.dropped,
        )
    }

    fn http(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let services = || {
            let services = self.services.iter();
            services.map(|service| ([("service", service.id.as_str())], service))
        };
        let answers = services().flat_map(|(labels, service)| {
            let [name] = labels;
            let answers = service.answers.iter();
            answers.map(move |(class, count)| ([name, ("code", *class)], *count))
        });
        counters(
            out,
            "http_requests",
            "Requests, by the hundreds of the status they were answered with; `none` if their client went away before",
            answers,
        )?;
        let running = services().map(|(labels, service)| (labels, service.running));
        gauges(
            out,
            "http_requests_running",
            "Requests that are being answered",
            running,
        )?;
        histograms(
            out,
            "http_request_duration",
            "Time from the head of a request to the last byte of its response",
            services().map(|(labels, service)| (labels, &service.durations)),
        )
    }

    fn scheduler(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let scheduler = &self.scheduler;
        gauge(
            out,
            "scheduler_threads",
            "Threads that run the application",
            scheduler.num_workers(),
        )?;
        gauge(
            out,
            "scheduler_tasks",
            "Tasks that have not ended",
            scheduler.num_alive_tasks(),
        )?;
        gauge(
            out,
            "scheduler_queue",
            "Tasks that wait for a thread in the queue that all threads share",
            scheduler.global_queue_depth(),
        )
    }
}

type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

fn info(out: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let labels = [("version", env!("CARGO_PKG_VERSION"))];
    let mut metric = out.encode_descriptor("build_info", "What runs", None, MetricType::Gauge)?;
    metric.encode_family(&labels)?.encode_gauge(&1_u64)
}

fn counter(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    out.encode_descriptor(name, help, None, MetricType::Counter)?
        .encode_counter::<NoLabelSet, _, f64>(&value, None)
}

fn counters<'a, const N: usize>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (Labels<'a, N>, impl EncodeCounterValue)>,
) -> fmt::Result {
    let mut metric = out.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in values {
        metric
            .encode_family(&labels)?
            .encode_counter::<NoLabelSet, _, f64>(&value, None)?;
    }
    Ok(())
}

fn gauge(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: usize) -> fmt::Result {
    out.encode_descriptor(name, help, None, MetricType::Gauge)?
        .encode_gauge(&value)
}

fn gauges<'a, const N: usize>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (Labels<'a, N>, impl EncodeGaugeValue)>,
) -> fmt::Result {
    let mut metric = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        metric.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

fn gauges_in<'a, const N: usize>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: &Unit,
    values: impl Iterator<Item = (Labels<'a, N>, impl EncodeGaugeValue)>,
) -> fmt::Result {
    let mut metric = out.encode_descriptor(name, help, Some(unit), MetricType::Gauge)?;
    for (labels, value) in values {
        metric.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

fn histograms<'a, 'd, const N: usize>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (Labels<'a, N>, &'d DurationCounts)>,
) -> fmt::Result {
    let mut metric = out.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
    for (labels, durations) in values {
        let bound =
            |bound: Option<std::time::Duration>| bound.map_or(f64::INFINITY, |bound| bound.as_secs_f64());
        let buckets: Vec<_> = durations
            .buckets()
            .map(|(upper, count)| (bound(upper), count))
            .collect();
        metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
            durations.sum().as_secs_f64(),
            durations.count(),
            &buckets,
            None,
        )?;
    }
    Ok(())
}
