//! The engine core: one task that owns the scheduler and steps it in real time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, Normal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

use super::args::SimArgs;
use super::boot::Booted;
use super::console::{Console, Process};
use super::fault::FaultKind;
use super::metrics::Stats;
use super::model::Speed;
use super::scheduler::{Limits, Output, Scheduler, SeqId, Step};
use super::truth::{Record, Truth};

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    Stop,
    Length,
}

/// What a request's stream is told.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum StreamEvent {
    /// `emitted` tokens of the answer exist now.
    Tokens { emitted: usize, cached_tokens: usize },
    /// The engine died, or was stopped.
    Died,
}

/// A request on its way to the engine.
#[derive(Debug)]
pub(super) struct Submission {
    /// Prompt, then answer.
    pub(super) tokens: Vec<u32>,
    pub(super) prompt_tokens: usize,
    pub(super) salt: u64,
    pub(super) finish: Finish,
    pub(super) arrival: Instant,
    pub(super) record: Record,
    pub(super) events: UnboundedSender<StreamEvent>,
}

#[derive(Debug)]
enum Command {
    Submit(SeqId, Box<Submission>),
    Abort(SeqId),
}

/// How the engine's task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EngineEnd {
    /// It was told to stop.
    Stopped,
    /// It died; the server notices and ends with exit code 0, as vLLM does.
    Died,
    /// The whole process is to be killed.
    Killed,
}

/// The way to the engine.
#[derive(Clone, Debug)]
pub(super) struct EngineHandle {
    commands: UnboundedSender<Command>,
    stats: Arc<Mutex<Stats>>,
    next: Arc<AtomicU64>,
}

impl EngineHandle {
    /// Hands a request over; `None` when the engine is dead.
    pub(super) fn submit(&self, submission: Submission) -> Option<SeqId> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.commands.send(Command::Submit(id, Box::new(submission))).ok().map(|()| id)
    }

    /// Gives a request up.
    pub(super) fn abort(&self, id: SeqId) {
        // A dead engine has nothing to abort.
        let _ = self.commands.send(Command::Abort(id));
    }

    /// Whether the engine's task is gone.
    pub(super) fn is_dead(&self) -> bool {
        self.commands.is_closed()
    }

    /// The counters, locked.
    pub(super) fn stats(&self) -> MutexGuard<'_, Stats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that the engine works on.
#[derive(Debug)]
struct Live {
    submission: Submission,
    cached_tokens: usize,
    admitted: Option<Instant>,
    first_token: Option<Instant>,
    last_token: Option<Instant>,
}

/// The engine's task.
pub(super) struct Engine {
    scheduler: Scheduler,
    speed: Speed,
    noise: Option<Normal<f64>>,
    /// How fast this start is, against the model.
    start_factor: f64,
    random: StdRng,
    /// Extra time of the first prefill after boot.
    warm_up: Duration,
    live: HashMap<SeqId, Live>,
    commands: UnboundedReceiver<Command>,
    handle: EngineHandle,
    truth: Arc<Truth>,
    console: Console,
    fault: Option<super::fault::Fault>,
    /// Generation requests seen.
    seen: u64,
    /// Steps until the fault strikes.
    doom: Option<u32>,
    /// When the last step ended by the plan: the next one starts there, so that late timers do not add up.
    planned_end: Option<Instant>,
    throughput: Throughput,
}

/// What vLLM logs every ten seconds.
#[derive(Debug)]
struct Throughput {
    every: Option<Duration>,
    since: Instant,
    prompt: u64,
    generated: u64,
}

/// How far a step may start in the past to make up for a late timer.
const CATCH_UP: Duration = Duration::from_millis(3);
/// vLLM's interval between two throughput lines.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// The speed of one start against the model: normal with mean 1 and this standard deviation, from half to twice the speed.
pub(super) fn start_factor(start_noise: f64, random: &mut StdRng) -> f64 {
    Normal::new(1.0, start_noise).map_or(1.0, |noise| noise.sample(random).clamp(0.5, 2.0))
}

impl Engine {
    /// The engine and the way to it.
    pub(super) fn new(
        args: &SimArgs,
        limits: Limits,
        booted: &Booted,
        truth: Arc<Truth>,
        console: Console,
    ) -> (Self, EngineHandle) {
        let (sender, commands) = unbounded_channel();
        let handle = EngineHandle {
            commands: sender,
            stats: Arc::new(Mutex::new(Stats::new(booted.max_model_len))),
            next: Arc::default(),
        };
        let mut random = StdRng::seed_from_u64(args.sim.seed);
        if args.sim.start_noise > 0.0 {
            // Two starts with one command line differ: the clock is in the seed.
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            random = StdRng::seed_from_u64(args.sim.seed ^ now.as_nanos() as u64);
        }
        let engine = Self {
            start_factor: start_factor(args.sim.start_noise, &mut random),
            scheduler: Scheduler::new(limits),
            speed: Speed::of(args, &booted.memory),
            noise: Normal::new(1.0, args.sim.noise).ok(),
            random,
            warm_up: Duration::from_secs_f64(args.sim.first_request_ms / 1e3 / args.sim.speed),
            live: HashMap::new(),
            commands,
            handle: handle.clone(),
            truth,
            console,
            fault: args.sim.fault,
            seen: 0,
            doom: None,
            planned_end: None,
            throughput: Throughput {
                every: args.log_stats.then_some(LOG_EVERY),
                since: Instant::now(),
                prompt: 0,
                generated: 0,
            },
        };
        (engine, handle)
    }

    /// Steps until it is told to stop or a fault ends it.
    pub(super) async fn run(mut self, cancel: CancellationToken) -> EngineEnd {
        let end = loop {
            while let Ok(command) = self.commands.try_recv() {
                self.take(command);
            }
            self.log_throughput();
            let step = self.scheduler.schedule();
            self.note_schedule(&step);
            if step.is_empty() {
                if let Some(end) = self.fault_when_idle(&cancel).await {
                    break end;
                }
                self.planned_end = None;
                let idle = self.throughput.wait();
                tokio::select! {
                    () = cancel.cancelled() => break EngineEnd::Stopped,
                    command = self.commands.recv() => match command {
                        Some(command) => self.take(command),
                        None => break EngineEnd::Stopped,
                    },
                    () = tokio::time::sleep(idle) => {}
                }
                continue;
            }
            let end_at = self.plan_end(&step);
            tokio::select! {
                () = cancel.cancelled() => break EngineEnd::Stopped,
                () = tokio::time::sleep_until(end_at.into()) => {}
            }
            let outputs = self.scheduler.finish(&step);
            self.give_out(&step, &outputs);
            if let Some(end) = self.fault_after_step(&cancel).await {
                break end;
            }
        };
        self.close(end);
        end
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Submit(id, submission) => {
                let number = self.seen;
                self.seen += 1;
                let strikes = |kind| super::fault::Fault::strikes(self.fault, kind, number);
                let doomed = strikes(FaultKind::OomServing)
                    || strikes(FaultKind::EngineDeath)
                    || strikes(FaultKind::HangServing)
                    || strikes(FaultKind::Killed)
                    || strikes(FaultKind::HostOom);
                if doomed && self.doom.is_none() {
                    // A hang comes before even a short answer is whole.
                    self.doom = Some(if strikes(FaultKind::HangServing) { 1 } else { 3 });
                }
                let Submission { tokens, prompt_tokens, salt, .. } = submission.as_ref();
                self.scheduler.add(id, tokens.clone(), *prompt_tokens, *salt);
                let live = Live {
                    submission: *submission,
                    cached_tokens: 0,
                    admitted: None,
                    first_token: None,
                    last_token: None,
                };
                self.live.insert(id, live);
            }
            Command::Abort(id) => {
                if self.scheduler.abort(id)
                    && let Some(live) = self.live.remove(&id)
                {
                    self.handle.stats().finished[2] += 1;
                    self.end_record(&live, Instant::now(), "abort");
                }
            }
        }
    }

    /// Notes what the scheduler decided: admissions, preemptions, gauges.
    fn note_schedule(&mut self, step: &Step) {
        let now = Instant::now();
        let handle = self.handle.clone();
        let mut stats = handle.stats();
        stats.running = self.scheduler.running();
        let busy = self.fault.is_some_and(|f| f.kind == FaultKind::OomBusy && stats.running as u64 >= f.n);
        if busy && self.doom.is_none() {
            self.doom = Some(1);
        }
        stats.waiting = self.scheduler.waiting();
        stats.kv_usage = self.scheduler.kv_usage();
        stats.preemptions += step.preempted.len() as u64;
        for admission in &step.admitted {
            if self.scheduler.caches_prefixes() {
                stats.prefix_queries += admission.prompt_tokens as u64;
                stats.prefix_hits += admission.cached_tokens as u64;
            }
            if let Some(live) = self.live.get_mut(&admission.id) {
                live.cached_tokens = admission.cached_tokens;
                live.admitted = Some(now);
                stats.queue_s.observe(now.saturating_duration_since(live.submission.arrival).as_secs_f64());
                let mut entry = live.submission.record.edit();
                entry.admitted_ms = Some(self.truth.offset_ms(now));
                entry.cached_tokens = admission.cached_tokens;
            }
        }
        for id in &step.preempted {
            if let Some(live) = self.live.get(id) {
                live.submission.record.edit().preemptions = self.scheduler.preemptions(*id);
            }
        }
        if !step.is_empty() {
            stats.iteration_tokens.observe(step.tokens() as f64);
        }
    }

    /// When the step ends: the model's time with noise, and the first prefill's warm-up.
    fn plan_end(&mut self, step: &Step) -> Instant {
        let mut duration = self.speed.step(&step.load).div_f64(self.start_factor);
        if let Some(noise) = self.noise {
            duration = duration.mul_f64(noise.sample(&mut self.random).clamp(0.5, 2.0));
        }
        if step.load.prefill_tokens > 0 {
            duration += std::mem::take(&mut self.warm_up);
        }
        let now = Instant::now();
        let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
        let start = self.planned_end.map_or(now, |planned| planned.clamp(earliest, now));
        let end = start + duration;
        self.planned_end = Some(end);
        end
    }

    /// Gives a step's tokens to their streams, all with one stamp.
    fn give_out(&mut self, step: &Step, outputs: &[Output]) {
        let now = Instant::now();
        let offset_ms = self.truth.offset_ms(now);
        let handle = self.handle.clone();
        let mut stats = handle.stats();
        stats.generation_tokens += outputs.len() as u64;
        self.throughput.generated += outputs.len() as u64;
        self.throughput.prompt += step.load.prefill_tokens as u64;
        for output in outputs {
            let Some(live) = self.live.get_mut(&output.id) else { continue };
            live.submission.record.edit().token_ms.push(offset_ms);
            match live.last_token.replace(now) {
                Some(last) => stats.itl_s.observe((now - last).as_secs_f64()),
                None => {
                    live.first_token = Some(now);
                    stats.prompt_tokens += live.submission.prompt_tokens as u64;
                    stats.ttft_s.observe(now.saturating_duration_since(live.submission.arrival).as_secs_f64());
                }
            }
            let event = StreamEvent::Tokens { emitted: output.emitted, cached_tokens: live.cached_tokens };
            // The reader may be gone; its abort is on the way then.
            let _ = live.submission.events.send(event);
            if output.finished
                && let Some(live) = self.live.remove(&output.id)
            {
                finish_stats(&mut stats, &live, output.emitted, now);
                let end = match live.submission.finish {
                    Finish::Stop => "stop",
                    Finish::Length => "length",
                };
                self.end_record(&live, now, end);
            }
        }
        stats.running = self.scheduler.running();
        stats.kv_usage = self.scheduler.kv_usage();
    }

    fn end_record(&self, live: &Live, at: Instant, end: &str) {
        let mut entry = live.submission.record.edit();
        entry.end_ms = Some(self.truth.offset_ms(at));
        entry.end = Some(end.to_owned());
    }

    async fn fault_when_idle(&mut self, cancel: &CancellationToken) -> Option<EngineEnd> {
        match self.doom {
            Some(_) => self.strike(cancel).await,
            None => None,
        }
    }

    async fn fault_after_step(&mut self, cancel: &CancellationToken) -> Option<EngineEnd> {
        match &mut self.doom {
            Some(0) => self.strike(cancel).await,
            Some(steps) => {
                *steps -= 1;
                None
            }
            None => None,
        }
    }

    async fn strike(&mut self, cancel: &CancellationToken) -> Option<EngineEnd> {
        match self.fault.map(|f| f.kind) {
            Some(FaultKind::HangServing) => {
                // The channel stays open and full: requests are taken and never answered.
                cancel.cancelled().await;
                Some(EngineEnd::Stopped)
            }
            Some(FaultKind::Killed | FaultKind::HostOom) => Some(EngineEnd::Killed),
            Some(FaultKind::OomServing | FaultKind::OomBusy) => {
                super::failures::oom_while_serving(&self.console);
                Some(EngineEnd::Died)
            }
            Some(FaultKind::EngineDeath) => Some(EngineEnd::Died),
            Some(
                FaultKind::OomLoad
                | FaultKind::OomGraphCapture
                | FaultKind::HangStart
                | FaultKind::ErrorEvent
                | FaultKind::StreamCut
                | FaultKind::Fragment
                | FaultKind::Degenerate
                | FaultKind::SlowFirstByte
                | FaultKind::NoUsage
                | FaultKind::MissingDone
                | FaultKind::ToolStreamDiffers
                | FaultKind::MarkupLeak
                | FaultKind::UnclosedThink
                | FaultKind::Truncate
                | FaultKind::EchoSecrets,
            )
            | None => None,
        }
    }

    /// Tells every stream that nothing more will come.
    fn close(&mut self, end: EngineEnd) {
        if end == EngineEnd::Killed {
            // A killed process says nothing: the streams' senders must not even be dropped.
            std::mem::forget(std::mem::take(&mut self.live));
            return;
        }
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            self.take(command);
        }
        let now = Instant::now();
        let (index, word) = match end {
            EngineEnd::Stopped => (2, "abort"),
            EngineEnd::Died | EngineEnd::Killed => (3, "error"),
        };
        for id in self.scheduler.ids() {
            self.scheduler.abort(id);
            if let Some(live) = self.live.remove(&id) {
                self.handle.stats().finished[index] += 1;
                let _ = live.submission.events.send(StreamEvent::Died);
                self.end_record(&live, now, word);
            }
        }
    }

    fn log_throughput(&mut self) {
        let elapsed = self.throughput.since.elapsed();
        if self.throughput.every.is_none_or(|every| elapsed < every) {
            return;
        }
        let seconds = elapsed.as_secs_f64();
        let (prompt, generated) = (self.throughput.prompt as f64 / seconds, self.throughput.generated as f64 / seconds);
        let stats = self.handle.stats();
        let hit_rate = if stats.prefix_queries == 0 {
            0.0
        } else {
            stats.prefix_hits as f64 / stats.prefix_queries as f64 * 100.0
        };
        let text = format!(
            "Engine 000: Avg prompt throughput: {prompt:.1} tokens/s, Avg generation throughput: {generated:.1} tokens/s, \
             Running: {} reqs, Waiting: {} reqs, GPU KV cache usage: {:.1}%, Prefix cache hit rate: {hit_rate:.1}%",
            stats.running,
            stats.waiting,
            stats.kv_usage * 100.0
        );
        drop(stats);
        if self.throughput.prompt + self.throughput.generated > 0 {
            self.console.info(Process::ApiServer, "loggers.py:335", &text);
        }
        self.throughput.since = Instant::now();
        self.throughput.prompt = 0;
        self.throughput.generated = 0;
    }
}

impl Throughput {
    /// How long an idle engine may wait before it looks at its log again.
    fn wait(&self) -> Duration {
        match self.every {
            Some(every) if self.prompt + self.generated > 0 => every.saturating_sub(self.since.elapsed()),
            Some(_) | None => Duration::from_secs(3_600),
        }
    }
}

fn finish_stats(stats: &mut Stats, live: &Live, emitted: usize, now: Instant) {
    let since = |from: Option<Instant>| from.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
    stats.finished[match live.submission.finish {
        Finish::Stop => 0,
        Finish::Length => 1,
    }] += 1;
    stats.e2e_s.observe(now.saturating_duration_since(live.submission.arrival).as_secs_f64());
    let (inference, decode) = (since(live.admitted), since(live.first_token));
    stats.inference_s.observe(inference);
    stats.decode_s.observe(decode);
    stats.prefill_s.observe(inference - decode);
    if emitted > 1 {
        stats.tpot_s.observe(decode / (emitted - 1) as f64);
    }
    stats.request_prompt_tokens.observe(live.submission.prompt_tokens as f64);
    stats.request_generation_tokens.observe(emitted as f64);
}
