"""What is asked of features: tasks, their labels, who trains and who is tested."""
