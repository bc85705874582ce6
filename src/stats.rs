//! Quantiles, bootstrap intervals, robust slopes: pure maths.
