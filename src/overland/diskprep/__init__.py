"""What runs on the copy computer: fill drives from the staging location, ship them, watch them."""
