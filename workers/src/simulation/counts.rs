//! What a run has exercised.

use std::sync::atomic::{AtomicU64, Ordering};

/// One counter.
#[derive(Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}

/// Sums over all schedules of a run.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) handled: Count,
    /// A message was handled that had been handled to its end before.
    pub(super) duplicates: Count,
    /// A late writer was refused because of its fence.
    pub(super) fenced_out: Count,
    /// A worker went on after another one had taken over.
    pub(super) superseded: Count,
    /// A handler found that another worker holds the lease.
    pub(super) busy: Count,
    /// The provider was asked for the server of an attempt without an outcome, and had it.
    pub(super) found_again: Count,
    /// The provider was asked for a server that it had created under the same token.
    pub(super) same_token: Count,
    /// Two workers stored the same order, invoice or document, and one was late.
    pub(super) orders_stored_twice: Count,
    pub(super) invoices_drafted_twice: Count,
    pub(super) documents_rendered_twice: Count,
    /// Mails by how they ended.
    pub(super) sent: Count,
    pub(super) ambiguous: Count,
    pub(super) refused: Count,
    pub(super) undeliverable: Count,
    /// Orders by how they ended.
    pub(super) completed: Count,
    pub(super) rejected: Count,
    /// An order went through these states.
    pub(super) retrying: Count,
    pub(super) needs_reconciliation: Count,
    pub(super) failed: Count,
    /// Workers that were killed between two statements, at a point, or went on late.
    pub(super) killed_between_statements: Count,
    pub(super) killed_at_a_point: Count,
    pub(super) woken: Count,
    pub(super) lost: Count,
    pub(super) emitted_again: Count,
    pub(super) parked: Count,
}

impl Counts {
    /// The names of what did not happen.
    pub(super) fn never(&self) -> Vec<String> {
        let all = format!("{self:?}");
        let fields = all.trim_start_matches("Counts {").trim_end_matches('}');
        fields
            .split(',')
            .filter_map(|field| field.trim().strip_suffix(": 0"))
            .map(str::to_owned)
            .collect()
    }
}
