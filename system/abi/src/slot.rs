//! A PD's capability slots, badges and address space (Microkit 2.3.0).

/// The endpoint or notification that the PD receives on.
pub const INPUT: u64 = 1;
/// The endpoint that the PD's own faults go to.
pub const FAULT: u64 = 2;
/// The PD's own VSpace.
pub const VSPACE: u64 = 3;
/// The PD's one reply object.
pub const REPLY: u64 = 4;
/// The monitor's endpoint (passive PDs).
pub const MONITOR: u64 = 5;
/// The PD's own TCB (benchmark configurations).
pub const OWN_TCB: u64 = 6;
/// Secure monitor calls (`smc="true"`).
pub const SMC: u64 = 7;
/// Notification of channel 0; channel n follows at +n.
pub const NOTIFICATION: u64 = 10;
/// Endpoint for protected procedure calls on channel 0.
pub const ENDPOINT: u64 = 74;
/// IRQ handler of channel 0.
pub const IRQ: u64 = 138;
/// TCB of child PD 0.
pub const CHILD_TCB: u64 = 202;
/// TCB of vCPU 0.
pub const VCPU_TCB: u64 = 266;
/// VCPU object of vCPU 0.
pub const VCPU: u64 = 330;
/// First of the capabilities that `<cspace>` adds; these have CPtr = slot << 58.
pub const USER: u64 = 458;

/// Badge bit of a protected procedure call; the low six bits are the channel.
pub const BADGE_PPC: u64 = 1 << 63;
/// Badge bit of a fault; the low eight bits are the child's or the vCPU's id.
pub const BADGE_FAULT: u64 = 1 << 62;

/// Number of channel ids (interrupts share them), 0 to 61.
pub const CHANNELS: usize = 62;
/// Bytes of a PD's name, not always NUL-terminated.
pub const NAME_LENGTH: usize = 64;
/// Most PDs of a system.
pub const MAX_PDS: usize = 63;
/// Highest PD priority.
pub const MAX_PRIORITY: u8 = 254;

/// Address of the IPC buffer page; a guard page lies below it.
pub const IPC_BUFFER: u64 = 0xff_ffff_f000;
/// Top of the stack, which grows down from here.
pub const STACK_TOP: u64 = 0xff_ffff_e000;
/// One past the highest address that a PD may map.
pub const USER_TOP: u64 = 0xff_ffff_f000 + 0x1000;
/// Default `stack_size` in bytes.
pub const DEFAULT_STACK_SIZE: u64 = 0x2000;
