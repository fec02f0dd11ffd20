//! The blocks of physical memory that a system needs, before they have addresses.

use super::sdf::File;
use std::rc::Rc;

/// A block.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// What it is for.
    pub(super) what: String,
    /// A multiple of [`Block::align`].
    pub(super) bytes: u64,
    pub(super) align: u64,
    pub(super) contents: Contents,
    /// Physical address; [`super::place`] fills it in.
    pub(super) address: u64,
}

/// What is in a block when the system starts.
#[derive(Clone, Debug)]
pub(super) enum Contents {
    /// At the block's address already, which the system's description gives; zeroed if it is RAM of the PDs.
    Given,
    /// Zeroes.
    Zero,
    /// These bytes, and zeroes behind them.
    Bytes(Vec<u8>),
    /// A file, and zeroes behind it.
    File(Rc<File>),
}

/// A number of a block.
pub(super) type BlockId = usize;

/// A run of bytes in a space: a whole block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) block: BlockId,
    pub(super) bytes: u64,
}

/// Blocks, each read-only contents once.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    pub(super) all: Vec<Block>,
    /// The blocks that nobody writes.
    read_only: Vec<BlockId>,
}

impl Contents {
    /// The bytes, without the zeroes behind them.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Given | Self::Zero => &[],
            Self::Bytes(bytes) => bytes,
            Self::File(file) => &file.bytes,
        }
    }

    /// Whether the image carries it.
    pub(super) fn in_image(&self) -> bool {
        matches!(self, Self::Bytes(_) | Self::File(_))
    }
}

impl Blocks {
    /// Adds a block.
    pub(super) fn add(&mut self, what: String, bytes: u64, align: u64, contents: Contents) -> Part {
        self.all.push(Block {
            what,
            bytes: bytes.next_multiple_of(align),
            align,
            contents,
            address: 0,
        });
        let block = self.all.len() - 1;
        let bytes = self.all.last().map_or(0, |block| block.bytes);
        Part { block, bytes }
    }

    /// Adds memory at `address`.
    pub(super) fn given(&mut self, what: String, bytes: u64, align: u64, address: u64) -> Part {
        let part = self.add(what, bytes, align, Contents::Given);
        if let Some(block) = self.all.last_mut() {
            block.address = address;
        }
        part
    }

    /// Adds `total` bytes that start with `contents`: the pages that hold any of it, and the zero pages behind them.
    /// What nobody writes shares its block with the same bytes elsewhere.
    pub(super) fn filled(
        &mut self,
        what: &str,
        contents: Contents,
        total: u64,
        page: u64,
        read_only: bool,
    ) -> Vec<Part> {
        let used = u64::try_from(contents.bytes().len()).unwrap_or(u64::MAX);
        let used = used.next_multiple_of(page).min(total);
        let mut parts = Vec::new();
        if used > 0 {
            let same = self.same(&contents, used, page).filter(|_| read_only);
            let part = match same {
                Some(block) => Part { block, bytes: used },
                None => self.add(what.to_owned(), used, page, contents),
            };
            if read_only && same.is_none() {
                self.read_only.push(part.block);
            }
            parts.push(part);
        }
        if total > used {
            parts.push(self.add(
                format!("{what}, zeroes"),
                total - used,
                page,
                Contents::Zero,
            ));
        }
        parts
    }

    /// A block that nobody writes, with the same contents.
    fn same(&self, contents: &Contents, bytes: u64, align: u64) -> Option<BlockId> {
        self.read_only.iter().copied().find(|number| {
            self.all.get(*number).is_some_and(|block| {
                block.bytes == bytes
                    && block.align == align
                    && block.contents.bytes() == contents.bytes()
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroes_behind_the_contents_are_not_in_the_image() {
        let mut blocks = Blocks::default();
        let parts = blocks.filled(
            "data",
            Contents::Bytes(vec![1; 0x1001]),
            0x5000,
            0x1000,
            false,
        );
        let sizes: Vec<u64> = parts.iter().map(|part| part.bytes).collect();
        assert_eq!(sizes, [0x2000, 0x3000]);
        let parts = blocks.filled("zeroes", Contents::Bytes(Vec::new()), 0x1000, 0x1000, false);
        assert_eq!(parts.len(), 1);
        assert!(matches!(
            blocks.all[parts[0].block].contents,
            Contents::Zero
        ));
    }

    #[test]
    fn only_what_nobody_writes_is_shared() {
        let mut blocks = Blocks::default();
        let mut add = |read_only| {
            let contents = Contents::Bytes(vec![7; 9]);
            blocks.filled("code", contents, 0x1000, 0x1000, read_only)[0].block
        };
        assert_eq!([add(false), add(true), add(true), add(false)], [0, 1, 1, 2]);
    }
}
