//! What all channel workers share: delivery, the in-flight journal, rendering.
