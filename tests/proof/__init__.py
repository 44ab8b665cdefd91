"""What treadle guarantees as a whole: fairness, cancellation, hand-over, life, memory, order."""
