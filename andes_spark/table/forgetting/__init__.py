"""Forgetting keys: their removal from all that is stored, and the proof."""
