//! What candidates reach, each thing by a number.

use std::collections::HashMap;

use crate::reach::Goal;

/// What a candidate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Item {
    /// A goal.
    Goal(Goal),
    /// A boundary, by number; each is there once.
    Boundary(usize),
}

/// All that some candidates reach.
#[derive(Debug, Default)]
pub(crate) struct Items {
    goals: HashMap<Goal, usize>,
    all: Vec<Item>,
}

impl Items {
    /// The item's number, its first if it has none.
    pub(crate) fn number(&mut self, item: Item) -> usize {
        let next = self.all.len();
        let number = match item {
            Item::Goal(goal) => *self.goals.entry(goal).or_insert(next),
            Item::Boundary(_) => next,
        };
        if number == next {
            self.all.push(item);
        }
        number
    }

    /// The goal of this number; `None`: it is a boundary.
    pub(crate) fn goal(&self, number: usize) -> Option<Goal> {
        match self.all.get(number) {
            Some(Item::Goal(goal)) => Some(*goal),
            _ => None,
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Adds those of others, of which so many boundaries were made before; returns the number that each
    /// of theirs has here.
    pub(crate) fn add(&mut self, others: Self, boundaries: usize) -> Vec<usize> {
        let others = others.all.into_iter().map(|item| match item {
            Item::Goal(_) => item,
            Item::Boundary(number) => Item::Boundary(number + boundaries),
        });
        others.map(|item| self.number(item)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_there_once() {
        let goal = |index| Item::Goal(Goal::Listener(index));
        let (mut one, mut other) = (Items::default(), Items::default());
        assert_eq!(
            [goal(7), Item::Boundary(1), goal(7)].map(|it| one.number(it)),
            [0, 1, 0]
        );
        assert_eq!(
            [goal(8), goal(7), Item::Boundary(1)].map(|it| other.number(it)),
            [0, 1, 2]
        );
        assert_eq!(one.add(other, 1), [2, 0, 3]);
        assert_eq!(
            (one.len(), one.goal(3), one.all.get(3)),
            (4, None, Some(&Item::Boundary(2)))
        );
    }
}
