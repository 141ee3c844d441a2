//! An ordered map whose copies share what they have in common.
//!
//! The checker keeps thousands of states that differ in one entry. This is a treap with priorities
//! taken from a hash of the key, so that equal maps have equal shapes whatever the order in which
//! they were filled; each subtree knows its digest, so that hashing a map costs nothing and
//! comparing two costs what they do not share.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// A persistent ordered map. `clone` is a reference count; a change copies one path.
pub struct Tree<K, V> {
    root: Link<K, V>,
}

type Link<K, V> = Option<Arc<Node<K, V>>>;

struct Node<K, V> {
    priority: u64,
    key: K,
    value: V,
    left: Link<K, V>,
    right: Link<K, V>,
    /// Entries in this subtree.
    len: usize,
    /// Sum of the hashes of this subtree's entries: the same for every shape.
    digest: u64,
}

impl<K, V> Clone for Tree<K, V> {
    fn clone(&self) -> Self {
        Self {
            root: self.root.clone(),
        }
    }
}

impl<K, V> Default for Tree<K, V> {
    fn default() -> Self {
        Self { root: None }
    }
}

impl<K, V> Tree<K, V> {
    /// Entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.root.as_ref().map_or(0, |node| node.len)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// All entries in order of their keys.
    pub fn iter(&self) -> Iter<'_, K, V> {
        let mut iter = Iter { path: Vec::new() };
        iter.descend(&self.root);
        iter
    }
}

impl<K: Ord + Hash + Clone, V: Hash + Clone> Tree<K, V> {
    /// The value under a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        let mut at = self.root.as_ref()?;
        loop {
            at = match key.cmp(at.key.borrow()) {
                Ordering::Equal => return Some(&at.value),
                Ordering::Less => at.left.as_ref()?,
                Ordering::Greater => at.right.as_ref()?,
            };
        }
    }

    /// Puts a value under a key, in place of the one there was.
    pub fn insert(&mut self, key: K, value: V) {
        let priority = digest_of(&key);
        self.root = Some(insert(self.root.as_ref(), priority, key, value));
    }

    /// Takes a key away; `false` when it was not there.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> bool
    where
        K: std::borrow::Borrow<Q>,
    {
        if self.get(key).is_none() {
            return false;
        }
        self.root = remove(self.root.as_ref(), key);
        true
    }
}

impl<K: Eq, V: Eq> PartialEq for Tree<K, V> {
    fn eq(&self, other: &Self) -> bool {
        same(&self.root, &other.root)
    }
}

impl<K: Eq, V: Eq> Eq for Tree<K, V> {}

impl<K, V> Hash for Tree<K, V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len().hash(state);
        self.root.as_ref().map_or(0, |node| node.digest).hash(state);
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Tree<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Entries in order, see [`Tree::iter`].
pub struct Iter<'a, K, V> {
    path: Vec<&'a Node<K, V>>,
}

impl<'a, K, V> Iter<'a, K, V> {
    fn descend(&mut self, mut link: &'a Link<K, V>) {
        while let Some(node) = link {
            self.path.push(node);
            link = &node.left;
        }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        let node = self.path.pop()?;
        self.descend(&node.right);
        Some((&node.key, &node.value))
    }
}

/// A hash with a fixed key: shapes and digests must not differ between runs.
fn digest_of<T: Hash + ?Sized>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn join<K: Hash, V: Hash>(
    priority: u64,
    key: K,
    value: V,
    left: Link<K, V>,
    right: Link<K, V>,
) -> Arc<Node<K, V>> {
    let below = |link: &Link<K, V>| link.as_ref().map_or((0, 0), |n| (n.len, n.digest));
    let ((left_len, left_digest), (right_len, right_digest)) = (below(&left), below(&right));
    let own = digest_of(&(&key, &value));
    Arc::new(Node {
        priority,
        key,
        value,
        left,
        right,
        len: left_len + 1 + right_len,
        digest: left_digest.wrapping_add(own).wrapping_add(right_digest),
    })
}

/// The same node over other children.
fn rejoin<K: Hash + Clone, V: Hash + Clone>(
    node: &Node<K, V>,
    left: Link<K, V>,
    right: Link<K, V>,
) -> Arc<Node<K, V>> {
    join(
        node.priority,
        node.key.clone(),
        node.value.clone(),
        left,
        right,
    )
}

fn insert<K: Ord + Hash + Clone, V: Hash + Clone>(
    at: Option<&Arc<Node<K, V>>>,
    priority: u64,
    key: K,
    value: V,
) -> Arc<Node<K, V>> {
    let Some(node) = at else {
        return join(priority, key, value, None, None);
    };
    match key.cmp(&node.key) {
        Ordering::Equal => join(priority, key, value, node.left.clone(), node.right.clone()),
        _ if (priority, &key) > (node.priority, &node.key) => {
            let (left, right) = split(Some(node), &key);
            join(priority, key, value, left, right)
        }
        Ordering::Less => {
            let left = insert(node.left.as_ref(), priority, key, value);
            rejoin(node, Some(left), node.right.clone())
        }
        Ordering::Greater => {
            let right = insert(node.right.as_ref(), priority, key, value);
            rejoin(node, node.left.clone(), Some(right))
        }
    }
}

/// What is below and what is above a key that outranks all of it, and hence is not in it.
fn split<K: Ord + Hash + Clone, V: Hash + Clone>(
    at: Option<&Arc<Node<K, V>>>,
    key: &K,
) -> (Link<K, V>, Link<K, V>) {
    let Some(node) = at else {
        return (None, None);
    };
    if node.key < *key {
        let (left, right) = split(node.right.as_ref(), key);
        (Some(rejoin(node, node.left.clone(), left)), right)
    } else {
        let (left, right) = split(node.left.as_ref(), key);
        (left, Some(rejoin(node, right, node.right.clone())))
    }
}

fn remove<K, V, Q>(at: Option<&Arc<Node<K, V>>>, key: &Q) -> Link<K, V>
where
    K: Ord + Hash + Clone + std::borrow::Borrow<Q>,
    V: Hash + Clone,
    Q: Ord + ?Sized,
{
    let node = at?;
    match key.cmp(node.key.borrow()) {
        Ordering::Equal => merge(node.left.as_ref(), node.right.as_ref()),
        Ordering::Less => Some(rejoin(
            node,
            remove(node.left.as_ref(), key),
            node.right.clone(),
        )),
        Ordering::Greater => Some(rejoin(
            node,
            node.left.clone(),
            remove(node.right.as_ref(), key),
        )),
    }
}

fn merge<K: Ord + Hash + Clone, V: Hash + Clone>(
    left: Option<&Arc<Node<K, V>>>,
    right: Option<&Arc<Node<K, V>>>,
) -> Link<K, V> {
    let (Some(low), Some(high)) = (left, right) else {
        return left.or(right).cloned();
    };
    Some(if (low.priority, &low.key) > (high.priority, &high.key) {
        rejoin(low, low.left.clone(), merge(low.right.as_ref(), right))
    } else {
        rejoin(high, merge(left, high.left.as_ref()), high.right.clone())
    })
}

fn same<K: Eq, V: Eq>(one: &Link<K, V>, other: &Link<K, V>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => {
            Arc::ptr_eq(one, other)
                || (one.digest == other.digest
                    && one.len == other.len
                    && one.key == other.key
                    && one.value == other.value
                    && same(&one.left, &other.left)
                    && same(&one.right, &other.right))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn built(changes: &[(u8, Option<u8>)]) -> (Tree<u8, u8>, BTreeMap<u8, u8>) {
        let (mut tree, mut map) = (Tree::default(), BTreeMap::new());
        for (key, value) in changes {
            match value {
                Some(value) => {
                    tree.insert(*key, *value);
                    map.insert(*key, *value);
                }
                None => assert_eq!(tree.remove(key), map.remove(key).is_some()),
            }
        }
        (tree, map)
    }

    proptest! {
        #[test]
        fn it_is_the_map_that_it_replaces(changes: Vec<(u8, Option<u8>)>, probe: u8) {
            let (tree, map) = built(&changes);
            prop_assert_eq!(tree.len(), map.len());
            prop_assert_eq!(tree.is_empty(), map.is_empty());
            prop_assert_eq!(tree.get(&probe), map.get(&probe));
            prop_assert!(tree.iter().eq(map.iter()));
        }

        #[test]
        fn equal_exactly_when_the_maps_are(
            one: Vec<(u8, Option<u8>)>,
            other: Vec<(u8, Option<u8>)>,
        ) {
            let ((one, one_map), (other, other_map)) = (built(&one), built(&other));
            prop_assert_eq!(one == other, one_map == other_map);
            // The same entries put in order, by another way.
            let mut again = Tree::default();
            for (key, value) in &one_map {
                again.insert(*key, *value);
            }
            prop_assert!(again == one);
            prop_assert_eq!(digest_of(&again), digest_of(&one));
        }
    }

    #[test]
    fn a_copy_keeps_what_it_had() {
        let mut tree = Tree::default();
        tree.insert(1, "one");
        let copy = tree.clone();
        tree.insert(1, "uno");
        tree.insert(2, "due");
        assert_eq!(copy.iter().collect::<Vec<_>>(), [(&1, &"one")]);
        assert!(copy != tree);
    }
}
