//! Classic BPF as the kernel runs it over a system call: only what filters use.
//!
//! # Source
//!
//! `linux/filter.h`, `linux/bpf_common.h`; `seccomp(2)`, "struct `seccomp_data`";
//! `net/core/filter.c`, `bpf_check_classic`, and `kernel/seccomp.c`, `seccomp_check_filter`.

/// One instruction, `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What it does, `BPF_…`.
    pub code: u16,
    /// Instructions to leap over if the comparison holds.
    pub jt: u8,
    /// Instructions to leap over if it does not.
    pub jf: u8,
    /// Its operand.
    pub k: u32,
}

/// What a filter sees of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallData {
    /// `AUDIT_ARCH_…` of the calling convention.
    pub arch: u32,
    /// Number of the call.
    pub number: u32,
    /// The six registers, whole.
    pub arguments: [u64; 6],
}

const LD_ABS: u16 = 0x20;
const LD_IMM: u16 = 0x00;
const LD_MEM: u16 = 0x60;
const LD_LEN: u16 = 0x80;
const LDX_IMM: u16 = 0x01;
const LDX_MEM: u16 = 0x61;
const LDX_LEN: u16 = 0x81;
const ST: u16 = 0x02;
const STX: u16 = 0x03;
const JA: u16 = 0x05;
const JEQ: u16 = 0x15;
const JGT: u16 = 0x25;
const JGE: u16 = 0x35;
const JSET: u16 = 0x45;
/// With the index register instead of the operand.
const X: u16 = 0x08;
const RET: u16 = 0x06;
const RET_A: u16 = 0x16;
const TAX: u16 = 0x07;
const TXA: u16 = 0x87;
const ALU: u16 = 0x04;
/// Words of scratch memory.
const MEMORY: usize = 16;

// === impl Instruction ===

impl Instruction {
    /// Loads 32 bits of `struct seccomp_data`, at a multiple of four.
    pub(crate) const fn load(offset: u32) -> Self {
        Self::plain(LD_ABS, offset)
    }

    /// Answers.
    pub(crate) const fn answer(value: u32) -> Self {
        Self::plain(RET, value)
    }

    /// Leaps over `count` instructions.
    pub(crate) const fn leap(count: u32) -> Self {
        Self::plain(JA, count)
    }

    /// Leaps if what is loaded is `value`.
    pub(crate) const fn if_equal(value: u32, jt: u8, jf: u8) -> Self {
        Self {
            code: JEQ,
            jt,
            jf,
            k: value,
        }
    }

    /// Leaps if what is loaded is at least `value`.
    pub(crate) const fn if_at_least(value: u32, jt: u8, jf: u8) -> Self {
        Self {
            code: JGE,
            jt,
            jf,
            k: value,
        }
    }

    const fn plain(code: u16, k: u32) -> Self {
        Self {
            code,
            jt: 0,
            jf: 0,
            k,
        }
    }
}

// === impl CallData ===

impl CallData {
    /// The 32 bits at `offset`, as the kernel lays out `struct seccomp_data` on processors with the
    /// low end first.
    fn word(&self, offset: u32) -> Option<u32> {
        let half = |value: u64, high: bool| {
            u32::try_from(if high {
                value >> 32
            } else {
                value & 0xffff_ffff
            })
            .ok()
        };
        match offset {
            0 => Some(self.number),
            4 => Some(self.arch),
            // The address of the instruction, which no filter of ours depends on.
            8 | 12 => Some(0),
            16..64 if offset.is_multiple_of(4) => {
                let index = usize::try_from((offset - 16) / 8).ok()?;
                half(*self.arguments.get(index)?, offset % 8 == 4)
            }
            _ => None,
        }
    }
}

/// What `program` answers to `call`; `None` if it does something that the kernel would not have
/// loaded, or that no filter does.
#[must_use]
pub fn run(program: &[Instruction], call: &CallData) -> Option<u32> {
    let (mut a, mut x, mut memory) = (0_u32, 0_u32, [0_u32; MEMORY]);
    let mut at = 0_usize;
    loop {
        let instruction = program.get(at)?;
        at += 1;
        let k = instruction.k;
        let cell = usize::try_from(k).ok()?;
        match instruction.code {
            LD_ABS => a = call.word(k)?,
            LD_IMM => a = k,
            LD_MEM => a = *memory.get(cell)?,
            LD_LEN => a = 64,
            LDX_IMM => x = k,
            LDX_MEM => x = *memory.get(cell)?,
            LDX_LEN => x = 64,
            ST => *memory.get_mut(cell)? = a,
            STX => *memory.get_mut(cell)? = x,
            TAX => x = a,
            TXA => a = x,
            RET => return Some(k),
            RET_A => return Some(a),
            JA => at = at.checked_add(cell)?,
            code if code & 0x07 == 0x05 => {
                let operand = if code & X == 0 { k } else { x };
                let holds = match code & !X {
                    JEQ => a == operand,
                    JGT => a > operand,
                    JGE => a >= operand,
                    JSET => a & operand != 0,
                    _ => return None,
                };
                let leap = if holds {
                    instruction.jt
                } else {
                    instruction.jf
                };
                at = at.checked_add(leap.into())?;
            }
            code if code & 0x07 == ALU => {
                let operand = if code & X == 0 { k } else { x };
                a = arithmetic(code & 0xf0, a, operand)?;
            }
            _ => return None,
        }
    }
}

fn arithmetic(operation: u16, a: u32, operand: u32) -> Option<u32> {
    Some(match operation {
        0x00 => a.wrapping_add(operand),
        0x10 => a.wrapping_sub(operand),
        0x20 => a.wrapping_mul(operand),
        0x30 => a.checked_div(operand)?,
        0x40 => a | operand,
        0x50 => a & operand,
        0x60 => a.checked_shl(operand)?,
        0x70 => a.checked_shr(operand)?,
        0x80 => a.wrapping_neg(),
        0xa0 => a ^ operand,
        _ => return None,
    })
}
