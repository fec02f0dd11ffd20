//! Our constants and structures against those that Linux's headers give (virtio-bindings).

use std::mem::{align_of, offset_of, size_of};

use sel4cp_queue::{
    Area, AvailableFlags, Descriptor, DescriptorFlags, Features, UsedElement, UsedFlags,
};
use virtio_bindings::bindings::virtio_config as config;
use virtio_bindings::bindings::virtio_ring as ring;

#[test]
fn s2_7_5_descriptors() {
    assert_eq!(size_of::<Descriptor>(), size_of::<ring::vring_desc>());
    assert_eq!(Descriptor::SIZE as usize, size_of::<Descriptor>());
    assert_eq!(
        offset_of!(Descriptor, address),
        offset_of!(ring::vring_desc, addr)
    );
    assert_eq!(
        offset_of!(Descriptor, len),
        offset_of!(ring::vring_desc, len)
    );
    assert_eq!(
        offset_of!(Descriptor, flags),
        offset_of!(ring::vring_desc, flags)
    );
    assert_eq!(
        offset_of!(Descriptor, next),
        offset_of!(ring::vring_desc, next)
    );
    assert_eq!(
        u32::from(DescriptorFlags::NEXT.bits()),
        ring::VRING_DESC_F_NEXT
    );
    assert_eq!(
        u32::from(DescriptorFlags::WRITE.bits()),
        ring::VRING_DESC_F_WRITE
    );
    assert_eq!(
        u32::from(DescriptorFlags::INDIRECT.bits()),
        ring::VRING_DESC_F_INDIRECT
    );
    assert_eq!(
        align_of::<Descriptor>(),
        1,
        "it may lie anywhere in a private copy"
    );
}

#[test]
fn s2_7_8_used_elements() {
    assert_eq!(size_of::<UsedElement>(), size_of::<ring::vring_used_elem>());
    assert_eq!(
        offset_of!(UsedElement, id),
        offset_of!(ring::vring_used_elem, id)
    );
    assert_eq!(
        offset_of!(UsedElement, len),
        offset_of!(ring::vring_used_elem, len)
    );
}

#[test]
fn s2_7_6_and_s2_7_8_flags() {
    assert_eq!(
        u32::from(AvailableFlags::NO_INTERRUPT.bits()),
        ring::VRING_AVAIL_F_NO_INTERRUPT
    );
    assert_eq!(
        u32::from(UsedFlags::NO_NOTIFY.bits()),
        ring::VRING_USED_F_NO_NOTIFY
    );
}

#[test]
fn s2_7_areas() {
    let alignment = [
        (Area::Descriptors, ring::VRING_DESC_ALIGN_SIZE),
        (Area::Available, ring::VRING_AVAIL_ALIGN_SIZE),
        (Area::Used, ring::VRING_USED_ALIGN_SIZE),
    ];
    for (area, expected) in alignment {
        assert_eq!(area.alignment(), u64::from(expected), "{area}");
    }
    for size in [1u16, 2, 256, 1024] {
        let n = usize::from(size);
        assert_eq!(
            Area::Descriptors.bytes(size) as usize,
            n * size_of::<ring::vring_desc>()
        );
        // The rings end in an event word that the headers' structures do not declare.
        let available = size_of::<ring::vring_avail>() + 2 * n + 2;
        assert_eq!(Area::Available.bytes(size) as usize, available);
        let used = offset_of!(ring::vring_used, ring) + n * size_of::<ring::vring_used_elem>() + 2;
        assert_eq!(Area::Used.bytes(size) as usize, used);
    }
}

#[test]
fn s6_features() {
    assert_eq!(
        Features::INDIRECT_DESC.bits(),
        1 << ring::VIRTIO_RING_F_INDIRECT_DESC
    );
    assert_eq!(
        Features::EVENT_IDX.bits(),
        1 << ring::VIRTIO_RING_F_EVENT_IDX
    );
    assert_eq!(
        Features::from_bits_truncate(1 << config::VIRTIO_F_VERSION_1),
        Features::empty(),
        "bits that are no business of a queue are left out"
    );
}
