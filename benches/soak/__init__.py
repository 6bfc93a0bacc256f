"""The worker under random faults for as long as one likes, with every request accounted for."""
