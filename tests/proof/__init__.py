"""What treadle promises as a whole: fairness, cancellation, hand-over, life, memory, order."""
