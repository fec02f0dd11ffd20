//! Block device (§5.2).

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The one request queue (§5.2.2).
pub const REQUESTQ: u16 = 0;
/// Unit of `capacity` and `sector`, whatever `blk_size` says (§5.2.4).
pub const SECTOR_SIZE: u64 = 512;
/// Bytes that GET_ID returns (§5.2.6.1).
pub const ID_BYTES: usize = 20;

bitflags! {
    /// Feature bits (§5.2.3).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u64 {
        /// `size_max` is valid.
        #[doc(alias = "VIRTIO_BLK_F_SIZE_MAX")]
        const SIZE_MAX = 1 << 1;
        /// `seg_max` is valid.
        #[doc(alias = "VIRTIO_BLK_F_SEG_MAX")]
        const SEG_MAX = 1 << 2;
        /// `geometry` is valid.
        #[doc(alias = "VIRTIO_BLK_F_GEOMETRY")]
        const GEOMETRY = 1 << 4;
        /// The device cannot be written.
        #[doc(alias = "VIRTIO_BLK_F_RO")]
        const RO = 1 << 5;
        /// `blk_size` is valid.
        #[doc(alias = "VIRTIO_BLK_F_BLK_SIZE")]
        const BLK_SIZE = 1 << 6;
        /// FLUSH is supported.
        #[doc(alias = "VIRTIO_BLK_F_FLUSH")]
        const FLUSH = 1 << 9;
        /// `topology` is valid.
        #[doc(alias = "VIRTIO_BLK_F_TOPOLOGY")]
        const TOPOLOGY = 1 << 10;
        /// `writeback` can be changed.
        #[doc(alias = "VIRTIO_BLK_F_CONFIG_WCE")]
        const CONFIG_WCE = 1 << 11;
        /// Several queues.
        #[doc(alias = "VIRTIO_BLK_F_MQ")]
        const MQ = 1 << 12;
        /// DISCARD is supported.
        #[doc(alias = "VIRTIO_BLK_F_DISCARD")]
        const DISCARD = 1 << 13;
        /// WRITE_ZEROES is supported.
        #[doc(alias = "VIRTIO_BLK_F_WRITE_ZEROES")]
        const WRITE_ZEROES = 1 << 14;
    }
}

/// Configuration space up to the WRITE_ZEROES fields (§5.2.4).
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
#[doc(alias = "virtio_blk_config")]
pub struct Config {
    /// Size of the device in sectors.
    pub capacity: U64,
    /// Largest segment in bytes, with SIZE_MAX.
    pub size_max: U32,
    /// Most segments of a request, with SEG_MAX.
    pub seg_max: U32,
    /// Cylinders, with GEOMETRY.
    pub cylinders: U16,
    /// Heads, with GEOMETRY.
    pub heads: u8,
    /// Sectors of a track, with GEOMETRY.
    pub sectors: u8,
    /// Best unit of transfer in bytes, with BLK_SIZE.
    pub blk_size: U32,
    /// Logical blocks of a physical block, as a power of two, with TOPOLOGY.
    pub physical_block_exp: u8,
    /// First aligned logical block, with TOPOLOGY.
    pub alignment_offset: u8,
    /// Suggested smallest transfer in logical blocks, with TOPOLOGY.
    pub min_io_size: U16,
    /// Suggested largest transfer in logical blocks, with TOPOLOGY.
    pub opt_io_size: U32,
    /// 1: write-back cache, with CONFIG_WCE.
    pub writeback: u8,
    /// Padding.
    pub unused0: u8,
    /// Number of queues, with MQ.
    pub num_queues: U16,
    /// Largest discard in sectors, with DISCARD.
    pub max_discard_sectors: U32,
    /// Most ranges of a discard, with DISCARD.
    pub max_discard_seg: U32,
    /// Alignment of discards in sectors, with DISCARD.
    pub discard_sector_alignment: U32,
    /// Largest write-zeroes in sectors, with WRITE_ZEROES.
    pub max_write_zeroes_sectors: U32,
    /// Most ranges of a write-zeroes, with WRITE_ZEROES.
    pub max_write_zeroes_seg: U32,
    /// 1: write-zeroes may unmap, with WRITE_ZEROES.
    pub write_zeroes_may_unmap: u8,
    /// Padding.
    pub unused1: [u8; 3],
}

/// What a request starts with (§5.2.6).
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
#[doc(alias = "virtio_blk_outhdr")]
pub struct RequestHeader {
    /// A [`RequestType`].
    pub kind: U32,
    /// Padding.
    pub reserved: U32,
    /// First sector.
    pub sector: U64,
}

/// What is asked (§5.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum RequestType {
    /// Read sectors.
    #[doc(alias = "VIRTIO_BLK_T_IN")]
    In = 0,
    /// Write sectors.
    #[doc(alias = "VIRTIO_BLK_T_OUT")]
    Out = 1,
    /// Make writes that have completed durable.
    #[doc(alias = "VIRTIO_BLK_T_FLUSH")]
    Flush = 4,
    /// The device's serial.
    #[doc(alias = "VIRTIO_BLK_T_GET_ID")]
    GetId = 8,
    /// The contents of these ranges are not needed any more.
    #[doc(alias = "VIRTIO_BLK_T_DISCARD")]
    Discard = 11,
    /// Fill these ranges with zeroes.
    #[doc(alias = "VIRTIO_BLK_T_WRITE_ZEROES")]
    WriteZeroes = 13,
}

impl RequestType {
    /// The request with this number; others are answered [`Status::Unsupp`].
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::In,
            1 => Self::Out,
            4 => Self::Flush,
            8 => Self::GetId,
            11 => Self::Discard,
            13 => Self::WriteZeroes,
            _ => return None,
        })
    }
}

/// One range of DISCARD and WRITE_ZEROES (§5.2.6).
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
#[doc(alias = "virtio_blk_discard_write_zeroes")]
pub struct Range {
    /// First sector.
    pub sector: U64,
    /// Number of sectors.
    pub num_sectors: U32,
    /// Bit 0: unmap (WRITE_ZEROES only); all others are reserved.
    pub flags: U32,
}

impl Range {
    /// `flags`: the device may unmap the range.
    pub const UNMAP: u32 = 1;
}

/// The last byte of a request, written by the device (§5.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Done.
    #[doc(alias = "VIRTIO_BLK_S_OK")]
    Ok = 0,
    /// Failed, by the device's or the driver's fault.
    #[doc(alias = "VIRTIO_BLK_S_IOERR")]
    IoErr = 1,
    /// Not supported.
    #[doc(alias = "VIRTIO_BLK_S_UNSUPP")]
    Unsupp = 2,
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;
    use virtio_bindings::virtio_blk as c;

    #[test]
    fn s5_2_features_are_those_of_virtio_bindings() {
        for (ours, bit) in [
            (Features::SIZE_MAX, c::VIRTIO_BLK_F_SIZE_MAX),
            (Features::SEG_MAX, c::VIRTIO_BLK_F_SEG_MAX),
            (Features::GEOMETRY, c::VIRTIO_BLK_F_GEOMETRY),
            (Features::RO, c::VIRTIO_BLK_F_RO),
            (Features::BLK_SIZE, c::VIRTIO_BLK_F_BLK_SIZE),
            (Features::FLUSH, c::VIRTIO_BLK_F_FLUSH),
            (Features::TOPOLOGY, c::VIRTIO_BLK_F_TOPOLOGY),
            (Features::CONFIG_WCE, c::VIRTIO_BLK_F_CONFIG_WCE),
            (Features::MQ, c::VIRTIO_BLK_F_MQ),
            (Features::DISCARD, c::VIRTIO_BLK_F_DISCARD),
            (Features::WRITE_ZEROES, c::VIRTIO_BLK_F_WRITE_ZEROES),
        ] {
            assert_eq!(ours.bits(), 1 << bit, "{ours:?}");
        }
    }

    #[test]
    fn s5_2_6_requests_are_those_of_virtio_bindings() {
        for (ours, number) in [
            (RequestType::In, c::VIRTIO_BLK_T_IN),
            (RequestType::Out, c::VIRTIO_BLK_T_OUT),
            (RequestType::Flush, c::VIRTIO_BLK_T_FLUSH),
            (RequestType::GetId, c::VIRTIO_BLK_T_GET_ID),
            (RequestType::Discard, c::VIRTIO_BLK_T_DISCARD),
            (RequestType::WriteZeroes, c::VIRTIO_BLK_T_WRITE_ZEROES),
        ] {
            assert_eq!(RequestType::from_number(number), Some(ours));
        }
        assert_eq!(RequestType::from_number(99), None);
        assert_eq!(
            [
                Status::Ok as u32,
                Status::IoErr as u32,
                Status::Unsupp as u32
            ],
            [
                c::VIRTIO_BLK_S_OK,
                c::VIRTIO_BLK_S_IOERR,
                c::VIRTIO_BLK_S_UNSUPP
            ]
        );
        assert_eq!(ID_BYTES, c::VIRTIO_BLK_ID_BYTES as usize);
        assert_eq!(Range::UNMAP, c::VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
    }

    #[test]
    fn s5_2_4_layouts_are_those_of_virtio_bindings() {
        assert_eq!(
            size_of::<RequestHeader>(),
            size_of::<c::virtio_blk_outhdr>()
        );
        assert_eq!(
            size_of::<Range>(),
            size_of::<c::virtio_blk_discard_write_zeroes>()
        );
        assert_eq!(
            offset_of!(Config, blk_size),
            offset_of!(c::virtio_blk_config, blk_size)
        );
        assert_eq!(
            offset_of!(Config, writeback),
            offset_of!(c::virtio_blk_config, wce)
        );
        assert_eq!(
            offset_of!(Config, max_discard_sectors),
            offset_of!(c::virtio_blk_config, max_discard_sectors)
        );
        assert_eq!(
            offset_of!(Config, write_zeroes_may_unmap),
            offset_of!(c::virtio_blk_config, write_zeroes_may_unmap)
        );
    }
}
