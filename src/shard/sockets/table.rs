//! A table whose places are used again, each under a new generation.

/// Values by index; an index together with its generation names one value for ever.
#[derive(Debug)]
pub(super) struct Table<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    count: u32,
    /// The generation of a place that is used for the first time.
    first_generation: u32,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), count: 0, first_generation: 0 }
    }
}

impl<T> Table<T> {
    /// Keeps a value that is told its index and generation.
    pub(super) fn insert(&mut self, make: impl FnOnce(u32, u32) -> T) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: self.first_generation, value: None });
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        slot.value = Some(make(index, slot.generation));
        self.count += 1;
        index
    }

    /// The index that the next value will have.
    pub(super) fn next_index(&self) -> u32 {
        self.free.last().copied().unwrap_or(self.slots.len() as u32)
    }

    /// Takes a value out; its place may be used again under another generation.
    pub(super) fn remove(&mut self, index: u32) -> Option<T> {
        let slot = self.slots.get_mut(index as usize)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        self.count -= 1;
        Some(value)
    }

    /// The value at an index.
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        self.slots.get(index as usize)?.value.as_ref()
    }

    /// The value at an index, if it is the one of that generation.
    pub(super) fn find(&self, index: u32, generation: u32) -> Option<&T> {
        self.slots.get(index as usize).filter(|slot| slot.generation == generation)?.value.as_ref()
    }

    /// The value at an index, to change it.
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.slots.get_mut(index as usize)?.value.as_mut()
    }

    /// Gives no value a generation that one of the table before had.
    pub(super) fn go_on_from(&mut self, next_generation: u32) {
        self.first_generation = next_generation;
    }

    /// A generation that no value has had.
    pub(super) fn next_generation(&self) -> u32 {
        let highest = self.slots.iter().map(|slot| slot.generation).max();
        highest.unwrap_or(self.first_generation).wrapping_add(1)
    }

    /// The generation of an index, or that of its first value.
    pub(super) fn generation(&self, index: u32) -> u32 {
        self.slots.get(index as usize).map_or(self.first_generation, |slot| slot.generation)
    }

    /// Every value, with its index.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(&self.slots).filter_map(|(index, slot)| Some((index, slot.value.as_ref()?)))
    }

    /// How many places there are; every index is below it.
    pub(super) fn places(&self) -> u32 {
        self.slots.len() as u32
    }

    /// How many values there are.
    pub(super) fn len(&self) -> u32 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_again_under_another_generation() {
        let mut table = Table::default();
        let make = |index, generation| (index, generation);
        assert_eq!((table.insert(make), table.insert(make)), (0, 1));
        assert_eq!(table.remove(0), Some((0, 0)));
        assert_eq!((table.remove(0), table.get(0), table.find(0, 1)), (None, None, None));
        assert_eq!(table.insert(make), 0);
        assert_eq!((table.find(0, 0), table.find(0, 1), table.find(2, 0)), (None, Some(&(0, 1)), None));
        assert_eq!(
            (table.get(0), table.generation(0), table.len(), table.next_index()),
            (Some(&(0, 1)), 1, 2, 2)
        );
    }
}
