package apart

// Confine makes this very process what one that reads is.
func Confine(network bool) Confinement {
	c := limit()
	c.Landlock = lock(network)
	return c
}
