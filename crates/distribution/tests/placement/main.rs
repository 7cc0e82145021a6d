//! The placement, through its public interface: the rules of the order, and the figures that it promises.

mod balance;
mod cluster;
mod movement;
mod order;
