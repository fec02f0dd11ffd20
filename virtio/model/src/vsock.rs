//! Socket device (§5.10).

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Queue that the device fills with packets (§5.10.2).
pub const RX: u16 = 0;
/// Queue that the driver fills with packets (§5.10.2).
pub const TX: u16 = 1;
/// Queue that the device fills with events (§5.10.2).
pub const EVENT: u16 = 2;

/// The host's CID (§5.10.4).
pub const HOST_CID: u64 = 2;
/// Lowest CID of a guest: those below are reserved (§5.10.4).
pub const FIRST_GUEST_CID: u64 = 3;
/// Highest CID of a guest: 0xffffffff is reserved, and the upper 32 bits are zero (§5.10.4).
pub const LAST_GUEST_CID: u64 = 0xffff_fffe;

bitflags! {
    /// Feature bits (§5.10.3).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u64 {
        /// Stream sockets.
        #[doc(alias = "VIRTIO_VSOCK_F_STREAM")]
        const STREAM = 1 << 0;
        /// Sockets with messages.
        #[doc(alias = "VIRTIO_VSOCK_F_SEQPACKET")]
        const SEQPACKET = 1 << 1;
    }
}

/// Configuration space (§5.10.4).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
#[doc(alias = "virtio_vsock_config")]
pub struct Config {
    /// The guest's context id; the upper 32 bits are zero.
    pub guest_cid: U64,
}

/// What precedes each packet (§5.10.6).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
#[doc(alias = "virtio_vsock_hdr")]
pub struct Header {
    /// Where it comes from.
    pub src_cid: U64,
    /// Where it goes.
    pub dst_cid: U64,
    /// The sender's port.
    pub src_port: U32,
    /// The receiver's port.
    pub dst_port: U32,
    /// Bytes of payload behind the header.
    pub len: U32,
    /// A [`SocketType`].
    #[doc(alias = "type")]
    pub kind: U16,
    /// An [`Op`].
    pub op: U16,
    /// [`Shutdown`] or [`Seq`], by the operation.
    pub flags: U32,
    /// Bytes of receive buffer that the sender has for this connection (§5.10.6.3).
    pub buf_alloc: U32,
    /// Bytes that it has taken out of it since the connection began, modulo 2³² (§5.10.6.3).
    pub fwd_cnt: U32,
}

impl Header {
    /// Bytes.
    pub const SIZE: u32 = 44;
}

/// What a packet is for (§5.10.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Op {
    /// Asks for a connection.
    #[doc(alias = "VIRTIO_VSOCK_OP_REQUEST")]
    Request = 1,
    /// Grants it.
    #[doc(alias = "VIRTIO_VSOCK_OP_RESPONSE")]
    Response = 2,
    /// Ends or refuses it at once.
    #[doc(alias = "VIRTIO_VSOCK_OP_RST")]
    Rst = 3,
    /// The sender will not receive, or not send, any more.
    #[doc(alias = "VIRTIO_VSOCK_OP_SHUTDOWN")]
    Shutdown = 4,
    /// Carries payload.
    #[doc(alias = "VIRTIO_VSOCK_OP_RW")]
    Rw = 5,
    /// Carries `buf_alloc` and `fwd_cnt` alone.
    #[doc(alias = "VIRTIO_VSOCK_OP_CREDIT_UPDATE")]
    CreditUpdate = 6,
    /// Asks for those.
    #[doc(alias = "VIRTIO_VSOCK_OP_CREDIT_REQUEST")]
    CreditRequest = 7,
}

impl Op {
    /// The operation with this number; `None` for those that do not exist, 0 among them.
    pub const fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Request,
            2 => Self::Response,
            3 => Self::Rst,
            4 => Self::Shutdown,
            5 => Self::Rw,
            6 => Self::CreditUpdate,
            7 => Self::CreditRequest,
            _ => return None,
        })
    }
}

/// What a socket carries (§5.10.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum SocketType {
    /// Bytes.
    #[doc(alias = "VIRTIO_VSOCK_TYPE_STREAM")]
    Stream = 1,
    /// Messages.
    #[doc(alias = "VIRTIO_VSOCK_TYPE_SEQPACKET")]
    Seqpacket = 2,
}

impl SocketType {
    /// The type with this number.
    pub const fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Stream,
            2 => Self::Seqpacket,
            _ => return None,
        })
    }
}

bitflags! {
    /// Flags of [`Op::Shutdown`] (§5.10.6.5).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Shutdown: u32 {
        /// The sender will not receive any more.
        #[doc(alias = "VIRTIO_VSOCK_SHUTDOWN_RCV")]
        const RCV = 1 << 0;
        /// The sender will not send any more.
        #[doc(alias = "VIRTIO_VSOCK_SHUTDOWN_SEND")]
        const SEND = 1 << 1;
    }
}

bitflags! {
    /// Flags of [`Op::Rw`] of a [`SocketType::Seqpacket`] (§5.10.6.6.1).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Seq: u32 {
        /// The last packet of a message.
        #[doc(alias = "VIRTIO_VSOCK_SEQ_EOM")]
        const EOM = 1 << 0;
        /// The last packet of a record.
        #[doc(alias = "VIRTIO_VSOCK_SEQ_EOR")]
        const EOR = 1 << 1;
    }
}

/// What happened (§5.10.6.7).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
#[doc(alias = "virtio_vsock_event")]
pub struct Event {
    /// [`TRANSPORT_RESET`].
    pub id: U32,
}

/// Event: all connections are gone, and the guest's CID may be another one.
#[doc(alias = "VIRTIO_VSOCK_EVENT_TRANSPORT_RESET")]
pub const TRANSPORT_RESET: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    /// `virtio-bindings` has no socket header, so the offsets are the specification's own tables.
    #[test]
    fn s5_10_layouts() {
        assert_eq!(size_of::<Config>(), 8);
        assert_eq!(size_of::<Event>(), 4);
        assert_eq!(size_of::<Header>(), Header::SIZE as usize);
        assert_eq!(
            (
                offset_of!(Header, src_cid),
                offset_of!(Header, dst_cid),
                offset_of!(Header, src_port),
                offset_of!(Header, dst_port),
                offset_of!(Header, len),
            ),
            (0, 8, 16, 20, 24)
        );
        assert_eq!(
            (
                offset_of!(Header, kind),
                offset_of!(Header, op),
                offset_of!(Header, flags),
                offset_of!(Header, buf_alloc),
                offset_of!(Header, fwd_cnt),
            ),
            (28, 30, 32, 36, 40)
        );
    }

    #[test]
    fn s5_10_6_numbers() {
        for number in 0..10 {
            if let Some(op) = Op::from_number(number) {
                assert_eq!(op as u16, number);
            }
            if let Some(kind) = SocketType::from_number(number) {
                assert_eq!(kind as u16, number);
            }
        }
        let known = |number: &u16| Op::from_number(*number).is_some();
        assert_eq!(
            (0..100).filter(known).collect::<Vec<_>>(),
            [1, 2, 3, 4, 5, 6, 7]
        );
        let known = |number: &u16| SocketType::from_number(*number).is_some();
        assert_eq!((0..100).filter(known).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn s5_the_device_id_is_that_of_virtio_bindings() {
        use virtio_bindings::virtio_ids as c;
        assert_eq!(crate::DeviceType::Socket as u32, c::VIRTIO_ID_VSOCK);
    }
}
