package apart

// MaxUnended is how many processes may be left behind.
const MaxUnended = maxUnended

// Confine makes this very process what one that reads is.
func Confine(network bool) Confinement {
	c := limit()
	c.lock(network)
	return c
}
