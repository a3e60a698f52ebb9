//! Any sequence of datagrams and calls leaves an engine whole: it does not panic, counts every
//! datagram once, and says nothing that it should not. Node 1 of three is under test; the input is
//! everything that its peers, strangers, its library and its clock do.
#![no_main]

mod input;
mod node;

use input::Input;
use libfuzzer_sys::fuzz_target;
use node::Node;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let mut node = Node::new(input.byte());
    while !input.is_empty() {
        match input.byte() % 16 {
            0..=4 => node.frame(&mut input),
            5 => node.noise(&mut input),
            6 => node.fence(input.number()),
            7 => node.lead(input.number()),
            8 => node.follow(input.byte(), input.number()),
            9 => node.acknowledge(input.number(), input.number()),
            10 => node.poll(input.byte()),
            11 => node.broadcast(&mut input),
            12 => node.probe(input.number()),
            13 => node.pass(input.number()),
            14 => node.reconfigure(input.byte()),
            _ => node.messages(&mut input),
        }
        node.check();
    }
    node.finish();
});
