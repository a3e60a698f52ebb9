//! Memory that the kernel is given pointers into, from call to call.

use std::fmt;
use std::ptr::NonNull;
use std::slice;

/// A fixed array that never moves. Only raw pointers into it are kept, so the pointers that the
/// kernel holds during a call, and those stored in message headers, stay valid beside it.
pub(super) struct Pinned<T> {
    start: NonNull<T>,
    len: usize,
}

// SAFETY: it owns its elements as a `Box<[T]>` does.
unsafe impl<T: Send> Send for Pinned<T> {}

impl<T> Pinned<T> {
    pub(super) fn new(elements: Vec<T>) -> Self {
        let len = elements.len();
        let start = NonNull::from(Box::leak(elements.into_boxed_slice())).cast();
        Self { start, len }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// A pointer to the element at `index`.
    pub(super) fn at(&self, index: usize) -> *mut T {
        assert!(index < self.len, "index {index} of {}", self.len);
        // SAFETY: the element is within the allocation, as just checked.
        unsafe { self.start.as_ptr().add(index) }
    }

    /// The element at `index`.
    pub(super) fn get(&self, index: usize) -> &T {
        // SAFETY: `at` checks the bound; elements are written only through `&mut self`, or by the
        // kernel during a call that has `&mut` of the batch that owns this.
        unsafe { &*self.at(index) }
    }

    /// The element at `index`, to write.
    pub(super) fn get_mut(&mut self, index: usize) -> &mut T {
        // SAFETY: as `get`, and `&mut self` makes it the only reference.
        unsafe { &mut *self.at(index) }
    }

    /// `count` elements from `start`.
    pub(super) fn slice(&self, start: usize, count: usize) -> &[T] {
        assert!(start <= self.len && count <= self.len - start, "{start}+{count} of {}", self.len);
        // SAFETY: `start` is at most one past the end, as just checked.
        let first = unsafe { self.start.as_ptr().add(start) };
        // SAFETY: the range lies within the allocation; as for `get` nobody writes to it meanwhile.
        unsafe { slice::from_raw_parts(first, count) }
    }
}

impl<T> fmt::Debug for Pinned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").field("len", &self.len).finish_non_exhaustive()
    }
}

impl<T> Drop for Pinned<T> {
    fn drop(&mut self) {
        let elements = std::ptr::slice_from_raw_parts_mut(self.start.as_ptr(), self.len);
        // SAFETY: pointer and length are those that `new` leaked; nothing borrows from it any more.
        drop(unsafe { Box::from_raw(elements) });
    }
}
