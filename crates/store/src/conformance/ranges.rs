//! Cases of ranges of commits: which there are up to a time, and what they have added.

use model::dataset::{CommitKind, Committed, NewCommit};
use model::{CommitNumber, DatasetId, WorkspaceId};

use super::{Rig, append, at, workspace};

pub async fn the_last_before_a_time_is_found(rig: &Rig) {
    let last = async |second| rig.catalog.last_before(&workspace(), at(second)).await.unwrap().0;
    assert_eq!(last(9).await, 0);
    for (second, number) in [(2, 1), (5, 2), (5, 3), (4, 4)] {
        let mark = NewCommit::new(workspace(), CommitKind::Mark, DatasetId::new("none"));
        let Committed::New(commit) = rig.catalog.commit(&mark, at(second)).await.unwrap() else {
            panic!("no key was given");
        };
        assert_eq!(commit.number.0, number);
    }
    // The clock ran back before the fourth, whose time did not.
    for (second, number) in [(2, 0), (3, 1), (5, 1), (6, 4), (100, 4)] {
        assert_eq!(last(second).await, number, "{second}");
    }
    let nowhere = WorkspaceId::new("nowhere");
    assert_eq!(rig.catalog.last_before(&nowhere, at(9)).await.unwrap(), CommitNumber(0));
}

pub async fn rows_of_a_range_are_counted(rig: &Rig) {
    let orders = rig.orders().await;
    for rows in [3, 0, 5] {
        rig.commit(&append(&orders, rows)).await;
    }
    let rows = async |from, to| {
        let range = (CommitNumber(from), CommitNumber(to));
        rig.catalog.rows_between(&workspace(), range).await.unwrap()
    };
    for (from, to, expected) in [(0, 3, 8), (0, 1, 3), (1, 2, 0), (1, 3, 5), (3, 9, 0), (2, 2, 0)] {
        assert_eq!(rows(from, to).await, expected, "({from}, {to}]");
    }
    let nowhere = WorkspaceId::new("nowhere");
    let all = (CommitNumber(0), CommitNumber(9));
    assert_eq!(rig.catalog.rows_between(&nowhere, all).await.unwrap(), 0);
}
