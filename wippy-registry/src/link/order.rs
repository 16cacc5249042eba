//! The order in which entries can start, and the cycles that have none.

use std::collections::{BTreeMap, BTreeSet};

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
    let mut order = BootOrder::default();
    let mut waiting: BTreeMap<EntryId, BTreeSet<EntryId>> = BTreeMap::new();
    let mut needed_by: BTreeMap<EntryId, Vec<EntryId>> = BTreeMap::new();
    for (id, needs) in graph {
        let needs: BTreeSet<EntryId> = needs
            .iter()
            .filter(|need| graph.contains_key(need))
            .cloned()
            .collect();
        for need in &needs {
            needed_by.entry(need.clone()).or_default().push(id.clone());
        }
        waiting.insert(id.clone(), needs);
    }
    let free = waiting
        .iter()
        .filter(|(_, needs)| needs.is_empty())
        .map(|(id, _)| id.clone());
    let mut ready: BTreeSet<EntryId> = free.collect();
    while !waiting.is_empty() {
        let Some(id) = ready.pop_first() else {
            // Breaking the circle at one place may leave others in it, which the next round finds.
            let cycle = cycle(&waiting);
            ready.extend(cycle.first().cloned());
            order.cycles.push(cycle);
            continue;
        };
        if waiting.remove(&id).is_none() {
            continue;
        }
        for dependent in needed_by.remove(&id).unwrap_or_default() {
            if let Some(needs) = waiting.get_mut(&dependent) {
                needs.remove(&id);
                if needs.is_empty() {
                    ready.insert(dependent);
                }
            }
        }
        order.ids.push(id);
    }
    order
}

/// A circle among ids that all wait for one another, rotated to start at its smallest id.
fn cycle(waiting: &BTreeMap<EntryId, BTreeSet<EntryId>>) -> Vec<EntryId> {
    let mut path: Vec<&EntryId> = Vec::new();
    let mut next = waiting.keys().next();
    while let Some(id) = next {
        if let Some(start) = path.iter().position(|seen| *seen == id) {
            path.drain(..start);
            break;
        }
        path.push(id);
        next = waiting.get(id).and_then(BTreeSet::first);
    }
    let smallest = path
        .iter()
        .enumerate()
        .min_by_key(|(_, id)| **id)
        .map_or(0, |(place, _)| place);
    path.rotate_left(smallest);
    path.into_iter().cloned().collect()
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
