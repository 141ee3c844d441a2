//! A chunkserver as small as fencing needs it: it takes orders, and its relay drops old ones.

use mfsha_core::id::Term;

/// A chunkserver and the relay in front of it, which sits with one node.
#[derive(Clone, Debug, Default)]
pub struct Chunkserver {
    /// Newest term that the relay has seen, in an order or at its own node.
    newest: Term,
}

impl Chunkserver {
    /// The relay's node shows this term.
    pub fn on_term(&mut self, term: Term) {
        self.newest = self.newest.max(term);
    }

    /// An order arrives.
    ///
    /// # Errors
    /// It is of an older term than this one, and is dropped.
    pub fn on_order(&mut self, term: Term) -> Result<(), Term> {
        if term < self.newest {
            return Err(self.newest);
        }
        self.newest = self.newest.max(term);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_of_an_old_term_is_dropped() {
        let mut server = Chunkserver::default();
        assert_eq!(server.on_order(Term(2)), Ok(()));
        assert_eq!(server.on_order(Term(2)), Ok(()));
        assert_eq!(server.on_order(Term(1)), Err(Term(2)));
        server.on_term(Term(5));
        assert_eq!(server.on_order(Term(4)), Err(Term(5)));
    }
}
