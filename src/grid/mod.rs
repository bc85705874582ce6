//! Grid YAML -> plan: axes, rules, names, order, with places for errors.
