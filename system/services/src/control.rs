//! The control service at CID 2: a line of text for each line of text.
//!
//! | request | answer |
//! |---|---|
//! | `help` | `ok help, vms, pds, …` |
//! | `vms` | `ok one=running two=paused`: a [`Life`], or `faulted` if its VMM has |
//! | `pds` | `ok serial=running one_vmm=faulted …`: every PD but the supervisor, which is who knows |
//! | `counters` | `ok one.console transmitted=3 …; one.block requests=7 …`: of every device |
//! | `counters NAME` | the same of one guest |
//! | `pause NAME` | `ok two paused`: its vCPUs stand still, its devices do not |
//! | `resume NAME` | `ok two resumed` |
//! | `restart NAME` | `ok two restarts`: as by PSCI's SYSTEM_RESET; also when it is paused, off or stopped |
//! | `poweroff NAME` | `ok two powers off`: as by PSCI's SYSTEM_OFF |
//!
//! What cannot be done is answered with `error: ` and why, and changes nothing. The system file says which guest may do what
//! ([`Access`]): one that may do nothing finds that nobody listens on [`PORT`].
//!
//! A guest that restarts or powers off itself loses this connection with all others. To pause oneself is refused: nobody else
//! need be there to resume.
//!
//! Nothing here waits in place. The next line is taken when the last one is answered; an order is with the VMM until it says
//! what became of it, or the supervisor that it is dead. A guest that closes its end may have its orders carried out all the
//! same, and one whose receive buffer is smaller than an answer waits for it in vain.

mod answer;
mod session;
mod setup;

pub use session::Session;
pub use setup::Misconfigured;

use crate::socket::Socket;
use answer::{Answer, Denied};
use core::fmt;
use sel4cp_abi::config::{Access, MAX_DEVICES, MAX_GUESTS, Name};
use sel4cp_link::Gauge;
use sel4cp_ring::control::{Controller, DomainsPage, Life, Order, Outcome};
use session::Step;

/// The port.
pub const PORT: u32 = 1;

/// A device whose counters are shown.
pub struct Device {
    /// Device id (virtIO 1.2 §5).
    pub kind: u32,
    /// Its counters.
    pub gauge: Gauge,
}

/// A guest to be controlled.
pub struct Guest {
    /// Its name.
    pub name: &'static str,
    /// The id of its VMM among the supervisor's children.
    pub vmm: u8,
    /// The page that is shared with its VMM.
    pub controller: Controller,
    /// Its devices.
    pub devices: heapless::Vec<Device, MAX_DEVICES>,
    /// Its VMM is to be notified.
    pub notify: bool,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its place among the guests.
    pub guest: usize,
    /// What it may ask for.
    pub access: Access,
}

/// The service, for all guests.
pub struct Control {
    /// All guests of the system.
    pub guests: heapless::Vec<Guest, MAX_GUESTS>,
    /// Where the supervisor says who has faulted.
    pub domains: &'static DomainsPage,
    /// The supervisor's children, by their ids.
    pub children: &'static [Name],
}

/// A request, as far as it can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request<'l> {
    Help,
    Vms,
    Pds,
    Counters(Option<&'l str>),
    Order(Order, &'l str),
}

/// The requests that are orders, with what they are and what is said when they are carried out.
const ORDERS: [(&str, Order, &str); 4] = [
    ("pause", Order::Pause, "paused"),
    ("resume", Order::Resume, "resumed"),
    ("restart", Order::Restart, "restarts"),
    ("poweroff", Order::PowerOff, "powers off"),
];

impl<'l> Request<'l> {
    fn parse(line: &'l str) -> Result<Self, Denied<'l>> {
        let mut words = line.split_ascii_whitespace();
        let verb = words.next().ok_or(Denied::Empty)?;
        let object = words.next();
        if words.next().is_some() {
            return Err(Denied::Words(verb));
        }
        let order = ORDERS.iter().find(|(name, ..)| *name == verb);
        match (verb, object, order) {
            ("help", None, _) => Ok(Self::Help),
            ("vms", None, _) => Ok(Self::Vms),
            ("pds", None, _) => Ok(Self::Pds),
            ("counters", name, _) => Ok(Self::Counters(name)),
            (_, Some(name), Some((_, order, _))) => Ok(Self::Order(*order, name)),
            (_, None, Some(_)) => Err(Denied::Nameless(verb)),
            ("help" | "vms" | "pds", Some(_), _) => Err(Denied::Words(verb)),
            _ => Err(Denied::Verb(verb)),
        }
    }
}

/// What to do next with a line.
enum Next {
    /// It is answered.
    Done,
    /// Here is the next part of the answer.
    Part(u8),
    /// The order with this number is with this guest's VMM.
    Ordered(usize, u32),
    /// There is no room for the answer, or it is not known yet.
    Later,
}

impl Control {
    /// Serves a connection to [`PORT`]. `session` is what is kept for it.
    pub fn serve(&mut self, caller: Caller, session: &mut Session, socket: &mut Socket<'_>) {
        session.is_for(socket.id());
        // Each turn takes a line or sends something, of which a socket has a limited number.
        loop {
            let next = match session.step {
                Step::Reading => match session.read(socket) {
                    true => Next::Part(0),
                    false => break,
                },
                Step::Line(part) => self.line(caller, session, part, socket),
                Step::Ordered(guest, number) => self.ordered(session, guest, number, socket),
            };
            session.step = match next {
                Next::Done => {
                    session.clear();
                    Step::Reading
                }
                Next::Part(part) => Step::Line(part),
                Next::Ordered(guest, number) => Step::Ordered(guest, number),
                Next::Later => return,
            };
        }
        if socket.is_finished() {
            socket.finish();
        }
    }

    fn line(
        &mut self,
        caller: Caller,
        session: &Session,
        part: u8,
        socket: &mut Socket<'_>,
    ) -> Next {
        let request = session.line().and_then(Request::parse);
        let mut answer = Answer::default();
        let next = match request {
            Err(denied) => answer.error(format_args!("{denied}")),
            Ok(Request::Help) => answer.ok(format_args!("{}", answer::Help(caller.access))),
            Ok(Request::Vms) => answer.ok(format_args!("{}", answer::Vms(self))),
            Ok(Request::Pds) => answer.ok(format_args!("{}", answer::Pds(self))),
            Ok(Request::Counters(name)) => self.counters(name, part, &mut answer),
            Ok(Request::Order(order, name)) => match self.give(caller, order, name) {
                Ok(next) => return next,
                Err(denied) => answer.error(format_args!("{denied}")),
            },
        };
        if answer.send(socket) {
            next
        } else {
            Next::Later
        }
    }

    /// A part of the counters: those of one guest, so that it fits an answer.
    fn counters(&self, name: Option<&str>, part: u8, answer: &mut Answer) -> Next {
        let first = match name {
            Some(name) => match self.find(name) {
                Ok(guest) => guest,
                Err(denied) => return answer.error(format_args!("{denied}")),
            },
            None => usize::from(part),
        };
        let start = if part == 0 { "ok " } else { "; " };
        let last = name.is_some() || first + 1 >= self.guests.len();
        let end = if last { "\n" } else { "" };
        if let Some(guest) = self.guests.get(first) {
            answer.push(format_args!("{start}{}{end}", answer::Counters(guest)));
        } else {
            return answer.ok(format_args!("no guests"));
        }
        if last {
            Next::Done
        } else {
            Next::Part(part.saturating_add(1))
        }
    }

    fn find<'l>(&self, name: &'l str) -> Result<usize, Denied<'l>> {
        let guest = self.guests.iter().position(|guest| guest.name == name);
        guest.ok_or(Denied::Name(name))
    }

    /// Passes an order to a VMM, unless one is there already.
    fn give<'l>(
        &mut self,
        caller: Caller,
        order: Order,
        name: &'l str,
    ) -> Result<Next, Denied<'l>> {
        if caller.access != Access::All {
            return Err(Denied::Access);
        }
        let index = self.find(name)?;
        if order == Order::Pause && index == caller.guest {
            return Err(Denied::Oneself);
        }
        let Some(guest) = self.guests.get_mut(index) else {
            return Err(Denied::Name(name));
        };
        if self.domains.has_faulted(guest.vmm) {
            return Err(Denied::Faulted(name));
        }
        Ok(match guest.controller.give(order) {
            Some(number) => {
                guest.notify = true;
                Next::Ordered(index, number)
            }
            None => Next::Later,
        })
    }

    /// An order is with a VMM: answers what became of it.
    fn ordered(
        &mut self,
        session: &Session,
        index: usize,
        number: u32,
        socket: &mut Socket<'_>,
    ) -> Next {
        let Some(guest) = self.guests.get_mut(index) else {
            return Next::Done;
        };
        let mut answer = Answer::default();
        let name = guest.name;
        let next = match guest.controller.outcome(number) {
            Some(Outcome::Done) => {
                let order = session.line().and_then(Request::parse);
                let done = ORDERS.iter().find_map(|(_, kind, done)| match order {
                    Ok(Request::Order(order, _)) if order == *kind => Some(*done),
                    _ => None,
                });
                answer.ok(format_args!("{name} {}", done.unwrap_or("done")))
            }
            Some(Outcome::Refused) => {
                let life = guest.controller.life().as_str();
                answer.error(format_args!("{name} is {life}"))
            }
            None if self.domains.has_faulted(guest.vmm) => {
                answer.error(format_args!("{}", Denied::Faulted(name)))
            }
            None => return Next::Later,
        };
        if answer.send(socket) {
            next
        } else {
            Next::Later
        }
    }

    /// What a guest's VMM says of it, or that it is dead.
    fn life(&self, guest: &Guest) -> &'static str {
        if self.domains.has_faulted(guest.vmm) {
            return FAULTED;
        }
        guest.controller.life().as_str()
    }
}

/// The state of a PD that has faulted, and of a guest whose VMM has.
const FAULTED: &str = "faulted";
/// The state of any other PD: nothing stops one.
const RUNNING: &str = Life::Running.as_str();

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
