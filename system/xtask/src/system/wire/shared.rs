//! The PDs that all guests share: timer, serial line, power.

use super::{CLIENT_LOG, NO_GUEST, Wiring, text};
use crate::system::plan::Rights;
use sel4cp_abi::config::{
    MAX_SERIAL_CLIENTS, MAX_TIMER_CLIENTS, PowerConfig, Program, Ring, SerialClient, SerialConfig,
    TimerConfig,
};

impl Wiring<'_> {
    /// The PDs that all guests share, after all guests.
    pub(super) fn shared(&mut self, guests: usize) -> Result<(), String> {
        let page = self.shared_page("serial_state", self.serial, self.power);
        let power = PowerConfig {
            header: self.header::<PowerConfig>(self.power, Program::Power, NO_GUEST)?,
            serial: page.1,
            guests: self.guest_channels,
        };
        self.configure(self.power, &power);

        let serial_timer = self.shared_page("serial_timer", self.serial, self.timer);
        self.deadlines.push(serial_timer.1);
        let interrupt_channel = self.plan.interrupt(self.timer, self.board.timer);
        let timer = TimerConfig {
            header: self.header::<TimerConfig>(self.timer, Program::Timer, NO_GUEST)?,
            interrupt_channel,
            client_count: u32::try_from(self.deadlines.len()).unwrap_or(u32::MAX),
            clients: filled::<_, MAX_TIMER_CLIENTS>(
                "clients of the timer",
                &self.deadlines,
                Ring::NONE,
            )?,
        };
        self.configure(self.timer, &timer);

        let uart = self.board.uart;
        let registers = self
            .plan
            .physical("uart_registers".to_owned(), uart.registers);
        let bus = uart.registers.start;
        let registers = self
            .plan
            .map(self.serial, registers, Rights::ReadWrite, false, bus);
        let interrupt_channel = self.plan.interrupt(self.serial, uart.interrupt);
        let none = SerialClient {
            name: text("")?,
            ring: Ring::NONE,
            kind: CLIENT_LOG,
            guest: NO_GUEST,
        };
        let serial = SerialConfig {
            header: self.header::<SerialConfig>(self.serial, Program::Serial, NO_GUEST)?,
            registers,
            state: page.0,
            timer: serial_timer.0,
            interrupt_channel,
            client_count: u32::try_from(self.clients.len()).unwrap_or(u32::MAX),
            focus: 0,
            guest_count: u32::try_from(guests).unwrap_or(u32::MAX),
            clients: filled::<_, MAX_SERIAL_CLIENTS>(
                "clients of the serial line",
                &self.clients,
                none,
            )?,
        };
        self.configure(self.serial, &serial);
        Ok(())
    }
}

/// `values` in a table of fixed length.
pub(super) fn filled<T: Copy, const N: usize>(
    what: &str,
    values: &[T],
    none: T,
) -> Result<[T; N], String> {
    if values.len() > N {
        return Err(format!(
            "found {} {what}, expected at most {N}",
            values.len()
        ));
    }
    let mut table = [none; N];
    for (to, from) in table.iter_mut().zip(values) {
        *to = *from;
    }
    Ok(table)
}
