//! The paged KV cache: blocks with reference counts, found again by the hash of their content, evicted least recently used.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A block's number.
pub(super) type BlockId = u32;

/// End of the free list.
const NONE: BlockId = BlockId::MAX;

#[derive(Clone, Debug)]
struct Block {
    references: u32,
    hash: Option<u64>,
    before: BlockId,
    after: BlockId,
}

/// The pool. Free blocks keep their content, and so may be hit, until they are taken for something else: oldest first.
#[derive(Debug)]
pub(super) struct BlockPool {
    blocks: Vec<Block>,
    by_hash: HashMap<u64, BlockId>,
    oldest: BlockId,
    newest: BlockId,
    free: usize,
}

impl BlockPool {
    /// A pool of `count` empty blocks.
    pub(super) fn new(count: usize) -> Self {
        let mut pool = Self {
            blocks: vec![Block { references: 0, hash: None, before: NONE, after: NONE }; count],
            by_hash: HashMap::new(),
            oldest: NONE,
            newest: NONE,
            free: 0,
        };
        for id in 0..BlockId::try_from(count).unwrap_or(NONE) {
            pool.push_free(id);
        }
        pool
    }

    /// Blocks that no request holds.
    pub(super) fn free(&self) -> usize {
        self.free
    }

    /// Share of the pool that requests hold, 0 to 1.
    pub(super) fn usage(&self) -> f64 {
        if self.blocks.is_empty() { 0.0 } else { 1.0 - self.free as f64 / self.blocks.len() as f64 }
    }

    /// The blocks that hold the longest known prefix of these chained hashes; not yet held.
    pub(super) fn lookup(&self, hashes: &[u64]) -> Vec<BlockId> {
        hashes.iter().map_while(|hash| self.by_hash.get(hash).copied()).collect()
    }

    /// How many of these blocks are free now: holding them takes them out of [`BlockPool::free`].
    pub(super) fn free_among(&self, ids: &[BlockId]) -> usize {
        ids.iter().filter(|id| self.blocks[**id as usize].references == 0).count()
    }

    /// Holds blocks found by [`BlockPool::lookup`].
    pub(super) fn hold(&mut self, ids: &[BlockId]) {
        for id in ids {
            if self.blocks[*id as usize].references == 0 {
                self.unlink(*id);
            }
            self.blocks[*id as usize].references += 1;
        }
    }

    /// Takes `count` blocks for new content, the oldest free ones; `None`, and nothing changed, when there are too few.
    pub(super) fn take(&mut self, count: usize) -> Option<Vec<BlockId>> {
        if count > self.free {
            return None;
        }
        let taken: Vec<BlockId> = (0..count)
            .map(|_| {
                let id = self.oldest;
                self.unlink(id);
                self.forget(id);
                self.blocks[id as usize].references = 1;
                id
            })
            .collect();
        Some(taken)
    }

    /// Gives blocks back. The last ones of a request become the oldest: its prefix is the most useful part.
    pub(super) fn release(&mut self, ids: &[BlockId]) {
        for id in ids.iter().rev() {
            let block = &mut self.blocks[*id as usize];
            block.references = block.references.saturating_sub(1);
            if block.references == 0 {
                self.push_free(*id);
            }
        }
    }

    /// Says what a full block holds. A second block with the same content stays unknown.
    pub(super) fn name(&mut self, id: BlockId, hash: u64) {
        if self.blocks[id as usize].hash.is_none() && !self.by_hash.contains_key(&hash) {
            self.blocks[id as usize].hash = Some(hash);
            self.by_hash.insert(hash, id);
        }
    }

    fn forget(&mut self, id: BlockId) {
        if let Some(hash) = self.blocks[id as usize].hash.take() {
            self.by_hash.remove(&hash);
        }
    }

    fn push_free(&mut self, id: BlockId) {
        let newest = self.newest;
        let block = &mut self.blocks[id as usize];
        block.before = newest;
        block.after = NONE;
        match newest {
            NONE => self.oldest = id,
            last => self.blocks[last as usize].after = id,
        }
        self.newest = id;
        self.free += 1;
    }

    fn unlink(&mut self, id: BlockId) {
        let Block { before, after, .. } = self.blocks[id as usize];
        match before {
            NONE => self.oldest = after,
            before => self.blocks[before as usize].after = after,
        }
        match after {
            NONE => self.newest = before,
            after => self.blocks[after as usize].before = before,
        }
        self.free -= 1;
    }
}

/// Hash of one full block that follows the block with hash `parent`.
pub(super) fn chain(parent: u64, tokens: &[u32]) -> u64 {
    let mut hasher = DefaultHasher::new();
    parent.hash(&mut hasher);
    tokens.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_released_block_is_hit_until_its_room_is_needed() {
        let mut pool = BlockPool::new(3);
        let first = pool.take(2).unwrap();
        pool.name(first[0], 10);
        pool.name(first[1], 11);
        pool.release(&first);
        assert_eq!(pool.free(), 3);
        assert_eq!(pool.lookup(&[10, 11, 12]), first);

        // The empty block goes first, then the end of the released prefix, its start last.
        let taken = pool.take(2).unwrap();
        assert_eq!(pool.lookup(&[10, 11]), vec![first[0]]);
        pool.release(&taken);
        assert_eq!(pool.take(4), None);
        assert_eq!(pool.free(), 3, "a refused request takes nothing");
    }

    #[test]
    fn a_block_held_twice_is_free_after_the_second_release() {
        let mut pool = BlockPool::new(2);
        let ids = pool.take(1).unwrap();
        pool.name(ids[0], 7);
        let hit = pool.lookup(&[7]);
        assert_eq!(pool.free_among(&hit), 0);
        pool.hold(&hit);
        pool.release(&ids);
        assert!((pool.usage() - 0.5).abs() < 1e-9);
        pool.release(&hit);
        assert_eq!(pool.free(), 2);
        assert_eq!(pool.free_among(&hit), 1);
    }

    #[test]
    fn the_same_tokens_after_another_prefix_have_another_hash() {
        assert_ne!(chain(1, &[1, 2]), chain(2, &[1, 2]));
        assert_eq!(chain(1, &[1, 2]), chain(1, &[1, 2]));
    }
}
