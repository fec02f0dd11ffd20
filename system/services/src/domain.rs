//! The protection domain: the endpoints of all guests that have sockets, and what they share.

use crate::control::{self, Caller, Control, Session};
use crate::endpoint::{CONNECTIONS, Endpoint, Memory};
use crate::services;
use sel4cp_abi::config::{MAX_GUESTS, MAX_WIRES, SOCKET_BYTES, ServicesConfig, Wire};
use sel4cp_pd::{self as pd, Channel, ChannelSet, Handler, wire_rings};

const _: () = assert!(size_of::<Memory>() == SOCKET_BYTES);

/// The services of all guests.
pub struct Services {
    guests: heapless::Vec<Client, MAX_WIRES>,
    control: Option<Control>,
    /// To the guests' VMMs, in the control service's order.
    vmms: heapless::Vec<Option<Channel>, MAX_GUESTS>,
}

/// A guest's sockets.
struct Client {
    endpoint: Endpoint,
    channel: Option<Channel>,
    /// Whom the control service knows it as, if it may use that.
    caller: Option<Caller>,
    sessions: [Session; CONNECTIONS],
}

impl Client {
    fn new(wire: &'static Wire, buffers: &'static mut Memory, caller: Option<Caller>) -> Self {
        let pair = match wire_rings(&wire.ring.region) {
            Ok(pair) => pair,
            Err(error) => pd::fatal!("wire: {error}"),
        };
        let end = if wire.first != 0 {
            pair.first()
        } else {
            pair.second()
        };
        let mut endpoint = Endpoint::new(end, buffers);
        services::listen(&mut endpoint);
        if caller.is_some() {
            // There is room: the services are few.
            let _room = endpoint.listen(control::PORT);
        }
        Self {
            endpoint,
            channel: Channel::from_config(wire.ring.channel),
            caller,
            sessions: [const { Session::new() }; CONNECTIONS],
        }
    }

    /// True: it has more to do.
    fn turn(&mut self, control: &mut Option<Control>) -> bool {
        let (caller, sessions) = (self.caller, &mut self.sessions);
        let again = self.endpoint.turn(|socket| {
            let session = sessions.get_mut(socket.place());
            match (socket.port(), control.as_mut(), caller, session) {
                (control::PORT, Some(control), Some(caller), Some(session)) => {
                    control.serve(caller, session, socket);
                }
                _ => services::serve(socket),
            }
        });
        if let Some(fault) = self.endpoint.take_fault() {
            pd::log!("{fault}");
        }
        if let (true, Some(channel)) = (self.endpoint.take_notify(), self.channel) {
            channel.defer_notify();
        }
        again
    }
}

/// The program. A configuration that does not fit stops this protection domain, with a line that says why.
pub fn init() -> Services {
    let config = match pd::config::<ServicesConfig>() {
        Ok(config) => config,
        Err(error) => pd::fatal!("{error}"),
    };
    let control = match Control::new(config) {
        Ok(control) => control,
        Err(error) => pd::fatal!("{error}"),
    };
    let vmms = (config.guests.iter()).map(|guest| Channel::from_config(guest.page.channel));
    let mut services = Services {
        guests: heapless::Vec::new(),
        control,
        vmms: vmms.collect(),
    };
    let count = usize::try_from(config.wire_count).unwrap_or(0);
    let buffers = match pd::own::<Memory>(&config.buffers) {
        Ok(buffers) if buffers.len() >= count => buffers,
        Ok(buffers) => pd::fatal!(
            "receive buffers of {} guests, expected {count}",
            buffers.len()
        ),
        Err(error) => pd::fatal!("receive buffers: {error}"),
    };
    for (wire, buffers) in config.wires.iter().take(count).zip(buffers) {
        let caller = Caller::of(config, wire.cid);
        // There is room: the configuration has no more places.
        let _room = services.guests.push(Client::new(wire, buffers, caller));
    }
    services.work();
    services
}

impl Services {
    /// Every guest has its turn before one has another.
    fn work(&mut self) {
        loop {
            let mut again = false;
            for client in &mut self.guests {
                again |= client.turn(&mut self.control);
            }
            let controlled = self
                .control
                .iter_mut()
                .flat_map(|control| &mut control.guests);
            for (guest, vmm) in controlled.zip(&self.vmms) {
                if let (true, Some(vmm)) = (core::mem::take(&mut guest.notify), *vmm) {
                    vmm.defer_notify();
                }
            }
            if !again {
                break;
            }
        }
    }
}

impl Handler for Services {
    fn notified(&mut self, _: ChannelSet) {
        self.work();
    }
}
