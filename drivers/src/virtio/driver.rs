//! What the programs of the virtIO drivers have in common: from the configuration to the first request.

use super::dma;
use super::transport::{self, Trouble};
use sel4cp_abi::config::VirtioDriverConfig;
use sel4cp_pd::{Channel, ChannelSet, Handler, config, device_rings, fatal};
use sel4cp_ring::layout::DriverEnds;
use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::mmio::MmioTransport;

/// A driver's verbs, for hardware behind a transport `T`.
pub trait Serve<T>: Sized {
    /// The hardware that it drives.
    const KIND: DeviceType;
    /// Its large memory.
    type Storage: 'static;

    /// Sets the hardware behind `transport` up and tells the PD behind `backend` what it is.
    ///
    /// # Errors
    /// [`Trouble`] says why the hardware cannot be used.
    fn start(
        transport: T,
        storage: &'static Self::Storage,
        ends: DriverEnds,
        backend: Channel,
    ) -> Result<Self, Trouble>;

    /// The hardware has interrupted: serves what that may be about.
    fn interrupt(&mut self);

    /// The backend has notified: serves its requests until there is nothing to do or the hardware is to be waited for.
    fn work(&mut self);
}

/// The transport of hardware.
pub type Hardware = MmioTransport<'static>;

/// A driver as a protection domain.
pub struct Driver<S> {
    interrupt: Channel,
    server: S,
}

impl<S: Serve<Hardware>> Driver<S> {
    /// Starts the driver that the configuration describes. What does not fit stops the PD with a report.
    pub fn start(storage: &'static S::Storage) -> Self {
        let config = match config::<VirtioDriverConfig>() {
            Ok(config) => config,
            Err(error) => fatal!("{error}"),
        };
        Self::with(config, storage).unwrap_or_else(|error| fatal!("{}: {error}", config.device))
    }

    fn with(
        config: &'static VirtioDriverConfig,
        storage: &'static S::Storage,
    ) -> Result<Self, Trouble> {
        let interrupt = Channel::from_config(config.interrupt_channel);
        let backend = Channel::from_config(config.ring.channel);
        let (Some(interrupt), Some(backend)) = (interrupt, backend) else {
            return Err(Trouble::Channels);
        };
        dma::open(&config.dma, &config.ram, &config.frames)?;
        let transport = transport::open(config, S::KIND)?;
        let ends = device_rings(&config.ring.region)?.driver();
        Ok(Self {
            interrupt,
            server: S::start(transport, storage, ends, backend)?,
        })
    }
}

impl<S: Serve<Hardware>> Handler for Driver<S> {
    fn notified(&mut self, channels: ChannelSet) {
        if channels.contains(self.interrupt) {
            self.server.interrupt();
            // At once, so that what waits for the receive is the backend's notification: with it the backend runs
            // next. Notified earlier it would wait behind a guest that is busy.
            self.interrupt.irq_ack();
        } else {
            self.server.work();
        }
    }
}
