"""What several tests share: a scripted environment and agent, and real processes around them."""
