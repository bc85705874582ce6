//! The Pareto front: the configs that nothing measured beats in every figure at once.

/// Which points no other point dominates, in the order of `costs`. A point is its costs, smaller is better, all of one length. One point
/// dominates another when it is no worse in every cost and better in one; equal points stand on the front together. A point
/// with a cost that is no number stands on no front and dominates nothing.
#[must_use]
pub fn pareto_front(costs: &[Vec<f64>]) -> Vec<bool> {
    let mut order: Vec<usize> = (0..costs.len()).filter(|i| costs[*i].iter().all(|c| !c.is_nan())).collect();
    // In this order a point can only be dominated by one before it.
    order.sort_by(|a, b| {
        let pairs = costs[*a].iter().zip(&costs[*b]);
        pairs.map(|(x, y)| (x + 0.0).total_cmp(&(y + 0.0))).find(|o| o.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
    });
    let mut front: Vec<usize> = Vec::new();
    let mut on_front = vec![false; costs.len()];
    for index in order {
        if !front.iter().any(|other| dominates(&costs[*other], &costs[index])) {
            on_front[index] = true;
            front.push(index);
        }
    }
    on_front
}

/// Whether `a` is no worse than `b` in every cost and better in one.
fn dominates(a: &[f64], b: &[f64]) -> bool {
    let no_worse = a.iter().zip(b).all(|(x, y)| x <= y);
    no_worse && a.iter().zip(b).any(|(x, y)| x < y)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_front_of_a_trade_off_is_its_lower_left_edge() {
        let points = [[1.0, 9.0], [2.0, 5.0], [3.0, 6.0], [4.0, 1.0], [4.0, 1.0], [f64::NAN, 0.0]];
        let costs: Vec<Vec<f64>> = points.iter().map(|p| p.to_vec()).collect();
        assert_eq!(pareto_front(&costs), [true, true, false, true, true, false]);
        assert!(pareto_front(&[]).is_empty());
    }

    fn costs() -> impl Strategy<Value = Vec<Vec<f64>>> {
        (1_usize..4)
            .prop_flat_map(|n| prop::collection::vec(prop::collection::vec((0_i32..8).prop_map(f64::from), n), 0..40))
    }

    proptest! {
        #[test]
        fn a_point_is_off_the_front_exactly_when_some_point_dominates_it(costs in costs()) {
            for (point, on) in costs.iter().zip(pareto_front(&costs)) {
                prop_assert_eq!(on, !costs.iter().any(|other| dominates(other, point)));
            }
        }

        #[test]
        fn every_point_off_the_front_is_dominated_by_one_on_it(costs in costs()) {
            let on = pareto_front(&costs);
            let front: Vec<&Vec<f64>> = costs.iter().zip(&on).filter(|(_, on)| **on).map(|(c, _)| c).collect();
            for (point, on) in costs.iter().zip(&on) {
                prop_assert!(*on || front.iter().any(|f| dominates(f, point)));
            }
        }
    }
}
