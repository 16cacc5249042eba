//! The order in which entries can start, and the cycles that have none.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use crate::id::EntryId;

/// Every id once, dependencies first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct BootOrder {
    pub(crate) ids: Vec<EntryId>,
    /// Ids that need each other in a circle, each starting at its smallest. Their entries come in `ids` as soon as
    /// nothing else is possible.
    pub(crate) cycles: Vec<Vec<EntryId>>,
}

/// Orders a graph of what needs what. Needs outside the graph do not count; ties go by id.
pub(crate) fn boot_order(graph: &BTreeMap<EntryId, Vec<EntryId>>) -> BootOrder {
    // Ids are sorted here, so their places compare as they do.
    let ids: Vec<&EntryId> = graph.keys().collect();
    let place = |id: &EntryId| ids.binary_search(&id).ok();
    let mut waiting: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); ids.len()];
    let mut ready = BinaryHeap::new();
    for (dependent, needs) in graph.values().enumerate() {
        let needs: BTreeSet<usize> = needs.iter().filter_map(place).collect();
        if needs.is_empty() {
            ready.push(Reverse(dependent));
        }
        for need in &needs {
            if let Some(needed_by) = needed_by.get_mut(*need) {
                needed_by.push(dependent);
            }
        }
        waiting.insert(dependent, needs);
    }
    let id = |place: usize| ids.get(place).map(|id| EntryId::clone(id));
    let mut order = BootOrder::default();
    while !waiting.is_empty() {
        let Some(Reverse(next)) = ready.pop() else {
            // Breaking the circle at one place may leave others in it, which the next round finds.
            let cycle = cycle(&waiting);
            ready.extend(cycle.first().copied().map(Reverse));
            order.cycles.push(cycle.into_iter().filter_map(id).collect());
            continue;
        };
        if waiting.remove(&next).is_none() {
            continue;
        }
        for dependent in needed_by.get(next).into_iter().flatten() {
            if let Some(needs) = waiting.get_mut(dependent) {
                needs.remove(&next);
                if needs.is_empty() {
                    ready.push(Reverse(*dependent));
                }
            }
        }
        order.ids.extend(id(next));
    }
    order
}

/// A circle among those that all wait for one another, rotated to start at its smallest.
fn cycle(waiting: &BTreeMap<usize, BTreeSet<usize>>) -> Vec<usize> {
    let mut path: Vec<usize> = Vec::new();
    let mut next = waiting.keys().next();
    while let Some(id) = next {
        if let Some(start) = path.iter().position(|seen| seen == id) {
            path.drain(..start);
            break;
        }
        path.push(*id);
        next = waiting.get(id).and_then(BTreeSet::first);
    }
    let smallest = path
        .iter()
        .enumerate()
        .min_by_key(|(_, id)| **id)
        .map_or(0, |(place, _)| place);
    path.rotate_left(smallest);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(edges: &[(&str, &[&str])]) -> (Vec<String>, Vec<Vec<String>>) {
        let id = |name: &&str| EntryId::parse(&format!("a:{name}")).unwrap();
        let graph = edges
            .iter()
            .map(|(from, to)| (id(from), to.iter().map(id).collect()))
            .collect();
        let order = boot_order(&graph);
        let names = |ids: &[EntryId]| ids.iter().map(|id| id.name().to_owned()).collect::<Vec<_>>();
        (
            names(&order.ids),
            order.cycles.iter().map(|cycle| names(cycle)).collect(),
        )
    }

    #[test]
    fn dependencies_come_first_and_ties_go_by_id() {
        let (ids, cycles) = order(&[("a", &["c"]), ("b", &[]), ("c", &["d", "outside"]), ("d", &[])]);
        assert_eq!(ids, ["b", "d", "c", "a"]);
        assert!(cycles.is_empty());
    }

    #[test]
    fn each_circle_is_found_once_and_nothing_is_lost() {
        let (ids, cycles) = order(&[
            ("a", &["z"]),
            ("z", &["y"]),
            ("y", &["z"]),
            ("self", &["self"]),
            ("b", &[]),
        ]);
        assert_eq!(ids.len(), 5);
        assert_eq!(
            cycles,
            [vec!["y".to_owned(), "z".to_owned()], vec!["self".to_owned()]]
        );
    }
}
