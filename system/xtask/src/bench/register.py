# Microseconds of one access to a register of the disk's virtio-mmio transport, from user space: a loop of three instructions in
# memory that may be executed, so that what is measured is the access. Arguments: how ("read", "write"), how often.
import ctypes, mmap, os, struct, sys, time

how, count = sys.argv[1], int(sys.argv[2])
# MagicValue, which reads 0x74726976; InterruptACK, to which 0 acknowledges nothing.
register, access = {"read": (0x00, 0xB9400003), "write": (0x64, 0xB900001F)}[how]
path = os.path.realpath("/sys/class/block/vda/device")
address = int(path.split("/platform/")[1].split(".")[0], 16)

memory = os.open("/dev/mem", os.O_RDWR | os.O_SYNC)
page = mmap.mmap(memory, 4096, offset=address & ~4095)
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
# 0: ldr w3, [x0] or str wzr, [x0]; subs x1, x1, #1; b.ne 0b; mov w0, w3; ret
code.write(struct.pack("<5I", access, 0xF1000421, 0x54FFFFC1, 0x2A0303E0, 0xD65F03C0))
where = lambda area: ctypes.addressof(ctypes.c_char.from_buffer(area))
loop = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_uint64, ctypes.c_uint64)(where(code))
at = where(page) + (address & 4095) + register

loop(at, 1)
before = time.perf_counter()
value = loop(at, count)
after = time.perf_counter()
if how == "read" and value != 0x74726976:
    sys.exit(f"the magic value is {value:#x}")
print(f"{(after - before) / count * 1e6:.4f} us")
