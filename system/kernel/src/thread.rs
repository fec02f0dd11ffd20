//! Threads: registers, what they wait for, and what they belong to.

use crate::capability::{Badge, Cap};
use crate::context::Context;
use crate::fault::Fault;
use crate::id::{DomainId, SpaceId, ThreadId, VcpuId};
use crate::machine::Buffer;

/// What a thread does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing, until somebody resumes it.
    #[default]
    Inactive,
    /// Runs, or would if it were its turn.
    Running,
    /// Will run again from its restart address.
    Restart,
    /// Waits for a message.
    Receiving {
        /// On the endpoint of this domain.
        endpoint: DomainId,
        /// With this reply object for the caller.
        reply: Option<DomainId>,
    },
    /// Waits for somebody to take its message (or its fault).
    Sending {
        /// On the endpoint of this domain.
        endpoint: DomainId,
        /// With this badge.
        badge: Badge,
        /// And then for the reply.
        call: bool,
    },
    /// Waits for the reply through the reply object of this domain.
    AwaitingReply(DomainId),
    /// Waits for this domain's notification.
    Waiting(DomainId),
}

/// Which of the scheduler's queues a thread is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Queued {
    #[default]
    No,
    /// The ready queue of its priority.
    Ready,
    /// The queue of those that wait for budget.
    Release,
}

/// Whose thread it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A protection domain's.
    Domain(DomainId),
    /// A vCPU's.
    Vcpu(VcpuId),
}

/// A thread.
#[derive(Debug)]
pub struct Thread {
    /// Its registers while it does not run.
    pub context: Context,
    /// What it does.
    pub state: State,
    pub(crate) queued: Queued,
    /// Its turn ended while it waited: it goes to the end of its queue when it is woken.
    pub(crate) turn_over: bool,
    /// Its priority.
    pub priority: u8,
    /// The highest priority that it may give.
    pub(crate) highest: u8,
    /// The scheduling context that it runs on, named by the thread that started with it.
    pub budget: Option<ThreadId>,
    /// The notification that also ends a wait for a message.
    pub(crate) notification: Option<DomainId>,
    /// A fault that was not answered yet.
    pub fault: Option<Fault>,
    /// Where its faults go: an endpoint or the monitor.
    pub(crate) handler: Cap,
    /// Whom it yielded to: it is told what that scheduling context used when it runs again.
    pub(crate) yielded_to: Option<ThreadId>,
    /// How many refusals were printed for it.
    pub(crate) refusals: u8,
    /// Whose it is.
    pub owner: Owner,
    /// Its address space.
    pub space: SpaceId,
    /// Its IPC buffer.
    pub(crate) buffer: Option<Buffer>,
    /// Whether it may use the FPU.
    pub fpu: bool,
}

impl Thread {
    pub(crate) const fn new() -> Self {
        Self {
            context: Context::new(),
            state: State::Inactive,
            queued: Queued::No,
            turn_over: false,
            priority: 0,
            highest: 0,
            budget: None,
            notification: None,
            fault: None,
            handler: Cap::Null,
            yielded_to: None,
            refusals: 0,
            owner: Owner::Domain(match DomainId::new(0) {
                Some(id) => id,
                None => unreachable!(),
            }),
            space: match SpaceId::new(0) {
                Some(id) => id,
                None => unreachable!(),
            },
            buffer: None,
            fpu: false,
        }
    }

    /// Whether it is a vCPU.
    pub const fn is_vcpu(&self) -> bool {
        matches!(self.owner, Owner::Vcpu(_))
    }

    /// Whether its state lets it run.
    pub const fn is_runnable(&self) -> bool {
        matches!(self.state, State::Running | State::Restart)
    }

    /// Whether it could run now, or waits only for its turn.
    pub(crate) const fn is_schedulable(&self) -> bool {
        self.is_runnable() && self.budget.is_some() && !matches!(self.queued, Queued::Release)
    }
}
