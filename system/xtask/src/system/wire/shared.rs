//! The PDs that all guests share: timer, serial line, power, supervisor.

use super::{CLIENT_LOG, NO_GUEST, Wiring, text};
use crate::system::plan::{Rights, STACK_BYTES};
use sel4cp_abi::config::{
    MAX_CHILDREN, MAX_GUESTS, MAX_SERIAL_CLIENTS, MAX_TIMER_CLIENTS, Name, PowerConfig, Program,
    Ring, SerialClient, SerialConfig, SupervisorConfig, TimerConfig,
};
use sel4cp_abi::slot::STACK_TOP;

impl Wiring<'_> {
    /// The PDs that all guests share, after all guests.
    pub(super) fn shared(&mut self, guests: usize) -> Result<(), String> {
        let page = self.shared_page("serial_state", self.serial, self.power);
        let power = PowerConfig {
            header: self.header::<PowerConfig>(self.power, Program::Power, NO_GUEST)?,
            serial: page.1,
            guest_count: u32::try_from(self.powered.len()).unwrap_or(u32::MAX),
            reserved: 0,
            guests: filled::<_, MAX_GUESTS>("guests", &self.powered, Ring::NONE)?,
        };
        self.configure(self.power, &power);

        let serial_timer = self.deadline_page("serial_timer", self.serial);
        self.timer()?;

        let supervisor = self.supervision()?;
        self.configure(self.supervisor, &supervisor);

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
            timer: serial_timer,
            interrupt_channel,
            client_count: u32::try_from(self.clients.len()).unwrap_or(u32::MAX),
            focus: 0,
            guest_count: u32::try_from(guests).unwrap_or(u32::MAX),
            uart: self.board.uart_kind as u32,
            reserved: 0,
            clients: filled::<_, MAX_SERIAL_CLIENTS>(
                "clients of the serial line",
                &self.clients,
                none,
            )?,
        };
        self.configure(self.serial, &serial);
        Ok(())
    }

    /// The supervisor's configuration: who its children are.
    fn supervision(&mut self) -> Result<SupervisorConfig, String> {
        let names = self.child_names()?;
        let mut programs = self.plan.children().map(|pd| pd.program);
        let serial = programs.position(|program| program == Program::Serial);
        let serial = serial.ok_or("found no serial driver")?;
        drop(programs);
        let header =
            self.header::<SupervisorConfig>(self.supervisor, Program::Supervisor, NO_GUEST)?;
        Ok(SupervisorConfig {
            header,
            stack_bottom: STACK_TOP - STACK_BYTES,
            child_count: u32::try_from(names.len()).unwrap_or(u32::MAX),
            serial: u32::try_from(serial).unwrap_or(u32::MAX),
            domains: self.domains,
            children: filled::<_, MAX_CHILDREN>("children of the supervisor", &names, text("")?)?,
        })
    }

    /// The names of the supervisor's children, by their ids. To be called when all PDs are there.
    pub(super) fn child_names(&self) -> Result<Vec<Name>, String> {
        self.plan.children().map(|pd| text(&pd.name)).collect()
    }

    /// The timer driver, where the kernel gives it a timer, after all that have deadlines.
    fn timer(&mut self) -> Result<(), String> {
        let Some((pd, interrupt)) = self.timer else {
            return Ok(());
        };
        let interrupt_channel = self.plan.interrupt(pd, interrupt);
        let timer = TimerConfig {
            header: self.header::<TimerConfig>(pd, Program::Timer, NO_GUEST)?,
            interrupt_channel,
            client_count: u32::try_from(self.deadlines.len()).unwrap_or(u32::MAX),
            clients: filled::<_, MAX_TIMER_CLIENTS>(
                "clients of the timer",
                &self.deadlines,
                Ring::NONE,
            )?,
        };
        self.configure(pd, &timer);
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
