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

    /// Keeps values where another process had them: each with its index and generation, in places that nobody has. No other is
    /// to be kept before.
    pub(super) fn succeed(&mut self, values: impl IntoIterator<Item = (u32, u32, T)>) {
        let generation = self.first_generation;
        for (index, of_value, value) in values {
            let index = index as usize;
            if index >= self.slots.len() {
                self.slots.resize_with(index + 1, || Slot { generation, value: None });
            }
            let before = self.slots[index].value.replace(value);
            self.slots[index].generation = of_value;
            self.count += u32::from(before.is_none());
        }
        let is_free = |index: &u32| self.slots[*index as usize].value.is_none();
        self.free = (0..self.slots.len() as u32).rev().filter(is_free).collect();
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
    fn values_of_another_table_have_the_places_and_generations_that_they_had_there() {
        let mut table = Table::default();
        table.go_on_from(50);
        table.succeed([(3, 7, "a"), (1, 9, "b")]);
        assert_eq!((table.find(3, 7), table.find(1, 9), table.len()), (Some(&"a"), Some(&"b"), 2));
        let places: Vec<_> = (0..3).map(|_| table.insert(|_, _| "c")).collect();
        assert_eq!(places, [0, 2, 4]);
        assert_eq!((table.generation(2), table.generation(4)), (50, 50));
        assert_eq!((table.remove(3), table.generation(3)), (Some("a"), 8));
    }

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
