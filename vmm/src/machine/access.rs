//! Loads and stores that stage 2 refuses.

use super::{INSTRUCTION, Machine};
use crate::bus::Target;
use crate::exit::{Access, Exit, FaultStatus};
use crate::mmio::Effect;
use crate::report::Cause;
use crate::vcpu::{Context, Exception, Hold, State, resume_at};
use sel4cp_pd::Vcpu;

impl Machine {
    /// Serves a load or store; the vCPU goes on unless a device holds it.
    #[inline]
    pub(super) fn access(&mut self, vcpu: Vcpu, access: Access) -> Result<(), Cause> {
        let syndrome = access.syndrome;
        let target = self.bus.find(access.address);
        if matches!(target, Target::Ram) {
            // RAM is the guest's: nothing that it does there comes here, unless the mapping is broken.
            return Err(Cause::Mapping(Exit::Access(access)));
        }
        let next = access.ip.wrapping_add(INSTRUCTION);
        if syndrome.is_cache_maintenance() && !matches!(target, Target::Nothing) {
            // Registers are not cached.
            return Ok(resume_at(vcpu, next)?);
        }
        // What real hardware answers to what it cannot do: a device that is not there, table walks through device
        // registers, and accesses by instructions that devices do not get (pairs, vectors, with write-back).
        let refused = matches!(target, Target::Nothing)
            || !syndrome.is_valid()
            || syndrome.is_table_walk()
            || syndrome.fault_status() == FaultStatus::External;
        if refused {
            return Ok(Context::new(vcpu).take(Exception::Data(syndrome))?);
        }
        let mut context = Context::new(vcpu);
        if syndrome.is_write() {
            let value = syndrome.stored(context.x(syndrome.register())?);
            self.store(vcpu, target, &access, value)
        } else {
            let value = self.load(vcpu, target, syndrome.size());
            Ok(context.finish(next, syndrome.register(), syndrome.loaded(value))?)
        }
    }

    fn load(&self, vcpu: Vcpu, target: Target, size: u8) -> u64 {
        match target {
            Target::Device(index, offset) => self
                .devices
                .get(index)
                .map_or(0, |device| device.transport.read(offset, size)),
            Target::Distributor(offset) => self.gic.read(vcpu.id(), offset, size),
            Target::Redistributors(offset) => self.gic.read_redistributor(offset, size),
            Target::Uart(offset) => self.uart.as_ref().map_or(0, |uart| uart.read(offset)),
            Target::Empty | Target::Ram | Target::Nothing => 0,
        }
    }

    fn store(
        &mut self,
        vcpu: Vcpu,
        target: Target,
        access: &Access,
        value: u64,
    ) -> Result<(), Cause> {
        let size = access.syndrome.size();
        let ip = access.ip;
        match target {
            Target::Device(index, offset) => {
                if self.store_device(vcpu, index, offset, size, value)? {
                    let device = index;
                    self.hold(vcpu, Hold::Reset { device, ip })?;
                    // The backend may have been faster than we were.
                    return self.device_notified(index);
                }
            }
            Target::Distributor(offset) => {
                self.gic.write(vcpu.id(), offset, size, value);
                self.deliver()?;
            }
            Target::Redistributors(offset) => {
                self.gic.write_redistributor(offset, size, value);
                self.deliver()?;
            }
            Target::Uart(offset) => {
                let done = self
                    .uart
                    .as_mut()
                    .is_none_or(|uart| uart.write(offset, value));
                if !done {
                    return self.hold(vcpu, Hold::Uart { value, ip });
                }
            }
            Target::Empty | Target::Ram | Target::Nothing => {}
        }
        Ok(resume_at(vcpu, ip.wrapping_add(INSTRUCTION))?)
    }

    /// Holds the vCPU. It is suspended, because a kernel that finds a fault unanswered at the next receive gives up
    /// the answer, and a debug kernel prints that.
    fn hold(&mut self, vcpu: Vcpu, hold: Hold) -> Result<(), Cause> {
        self.set_state(vcpu, State::Held(hold));
        Ok(vcpu.suspend()?)
    }

    /// True: the vCPU is to be held until the device is reset.
    #[inline]
    fn store_device(
        &mut self,
        vcpu: Vcpu,
        index: usize,
        offset: u64,
        size: u8,
        value: u64,
    ) -> Result<bool, Cause> {
        let Some(device) = self.devices.get_mut(index) else {
            return Ok(false);
        };
        match device.transport.write(offset, size, value) {
            Effect::None => {}
            // With the next receive, after the vCPU was resumed: the backend has a higher priority than we have, and would
            // otherwise run in the middle, and we once more after it.
            Effect::Notify => device.channel.defer_notify(),
            Effect::Line => self.acknowledged(vcpu, index)?,
            Effect::Reset => {
                device.channel.notify();
                self.sample(index);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The UART's peer has taken output: vCPUs that are held go on, as long as there is room.
    pub(super) fn uart_has_room(&mut self) -> Result<(), Cause> {
        for vcpu in self.vcpus() {
            let State::Held(Hold::Uart { value, ip }) = self.state(vcpu) else {
                continue;
            };
            // Only the data register holds, and it is the first.
            let done = self.uart.as_mut().is_none_or(|uart| uart.write(0, value));
            if !done {
                break;
            }
            self.go_on(vcpu, ip.wrapping_add(INSTRUCTION))?;
        }
        Ok(())
    }
}
