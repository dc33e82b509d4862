//! How a ticket moves: the one table of what is possible.

use schemas::ticket::TicketStatus::{self, *};

/// What is done to a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    /// The customer says something.
    CustomerSays,
    /// The customer closes it.
    CustomerCloses,
    /// The customer opens it again.
    CustomerReopens,
    /// The support answers.
    SupportAnswers,
    /// Somebody of the support takes it.
    SupportTakes,
    /// The support puts it into this state.
    SupportSets(TicketStatus),
    /// What failed is done, or it was resolved for long enough.
    EndsByItself,
    /// What failed has failed again.
    FailsAgain,
}

/// Where a ticket stands after something was done to it, or why it cannot be done.
pub(crate) fn next(from: TicketStatus, done: Move) -> Result<TicketStatus, &'static str> {
    match (done, from) {
        (Move::CustomerSays, InProgress | WaitingCustomer) => Ok(WaitingSupport),
        (Move::CustomerSays, Resolved) => Ok(Open),
        (Move::CustomerSays, Open | WaitingSupport) => Ok(from),
        (Move::CustomerSays, Closed) => Err("The ticket is closed."),
        (Move::CustomerCloses | Move::EndsByItself, _) => Ok(Closed),
        (Move::CustomerReopens | Move::FailsAgain, Resolved | Closed) => Ok(Open),
        (Move::CustomerReopens, _) => Err("The ticket is open."),
        (Move::SupportAnswers, Closed) => Err("The ticket is closed; open it again first."),
        (Move::SupportAnswers, Resolved) => Ok(Resolved),
        (Move::SupportAnswers, _) => Ok(WaitingCustomer),
        (Move::SupportTakes, Open) => Ok(InProgress),
        (Move::SupportSets(to), Closed) if !matches!(to, Open | Closed) => {
            Err("A closed ticket can only be opened again.")
        }
        (Move::SupportSets(to), _) => Ok(to),
        (Move::SupportTakes | Move::FailsAgain, _) => Ok(from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOVES: [Move; 7] = [
        Move::CustomerSays,
        Move::CustomerCloses,
        Move::CustomerReopens,
        Move::SupportAnswers,
        Move::SupportTakes,
        Move::EndsByItself,
        Move::FailsAgain,
    ];

    #[test]
    fn a_closed_ticket_is_opened_again_or_stays_closed() {
        let sets = TicketStatus::ALL.iter().map(|to| Move::SupportSets(*to));
        for done in MOVES.into_iter().chain(sets) {
            assert!(
                matches!(next(Closed, done), Ok(Open | Closed) | Err(_)),
                "{done:?}"
            );
        }
    }

    #[test]
    fn the_talk_goes_to_and_fro() {
        let mut status = Open;
        for (done, expected) in [
            (Move::SupportTakes, InProgress),
            (Move::SupportAnswers, WaitingCustomer),
            (Move::CustomerSays, WaitingSupport),
            (Move::SupportTakes, WaitingSupport),
            (Move::SupportAnswers, WaitingCustomer),
            (Move::SupportSets(Resolved), Resolved),
            (Move::CustomerSays, Open),
            (Move::CustomerCloses, Closed),
            (Move::CustomerReopens, Open),
        ] {
            status = next(status, done).unwrap();
            assert_eq!(status, expected, "{done:?}");
        }
        assert!(next(status, Move::CustomerReopens).is_err());
    }

    #[test]
    fn every_state_can_be_left_for_closed() {
        for from in TicketStatus::ALL {
            assert_eq!(next(*from, Move::CustomerCloses), Ok(Closed));
        }
    }
}
