//! Who comes when: the order of turns in each round.

/// The order in which so many take their turns in a round.
///
/// Every second round goes backwards, and each pair of rounds begins one further: nobody always comes after the same
/// neighbour, and over 2 x `count` rounds each has every place equally often.
pub(crate) fn order(count: usize, round: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    if count > 0 {
        order.rotate_left(round / 2 % count);
    }
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_rotate_and_every_second_round_goes_backwards() {
        let rounds = [0, 1, 2, 3, 4].map(|round| order(3, round));
        let expected = [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1], [2, 0, 1]];
        assert_eq!(rounds.to_vec(), expected.map(Vec::from).to_vec());
        assert!(order(0, 3).is_empty());
    }

    #[test]
    fn each_has_every_place_equally_often() {
        for count in 1..=6 {
            for contender in 0..count {
                let mut places = vec![0; count];
                for round in 0..2 * count {
                    let order = order(count, round);
                    let place = order.iter().position(|&index| index == contender);
                    places[place.unwrap()] += 1;
                }
                assert_eq!(places, vec![2; count], "{contender} of {count}");
            }
        }
    }

    #[test]
    fn each_comes_after_every_other_one_while_there_are_three() {
        let mut pairs = std::collections::BTreeSet::new();
        for round in 0..4 {
            let order = order(3, round);
            pairs.extend(order.windows(2).map(|pair| (pair[0], pair[1])));
        }
        assert_eq!(pairs.len(), 6, "{pairs:?}");
    }
}
