package agent

import (
	"mdatp-offline-agent/agent/engine"
)

// avoidNoexec makes the second place the one of the engine directory, where the
// default one lies on a file system that lets nothing be executed: an engine is a
// part of the definitions, and could not be loaded from there. It does so only
// before anything is installed, and before anybody has chosen a place. What is
// installed already stays where engines look for it; a report tells, and whoever
// wants it elsewhere moves it. From then on the second place is one like any other
// that was chosen, also when the file system is mounted otherwise. Where it is not
// to be had, the default is better than nothing: not every package has an engine.
func (s *session) avoidNoexec() error {
	chosen, err := s.store.EngineDirectory()
	if err != nil || chosen != "" || !engine.Noexec(s.Paths.Engine) || s.holdsSets(s.Paths.Engine) {
		return err
	}
	log := s.Log.WithField("directory", s.Paths.Second)
	second, err := resolve(s.Paths.Second)
	if err == nil {
		err = s.fit(second, true)
	}
	var place *engine.Dir
	if err == nil {
		place, err = s.makePlace(second)
	}
	if err == nil {
		err = place.Close()
	}
	if err != nil {
		log.WithError(err).Info("the default place of the definitions is mounted noexec, and the second can not be used")
		return nil
	}
	log.Info("the definitions go to the second place, since the default one is mounted noexec")
	return s.store.SetEngineDirectory(second)
}

// holdsSets tells whether something is installed at a place, or may be.
func (s *session) holdsSets(path string) bool {
	dir, err := engine.View(path)
	if err != nil {
		return true
	}
	defer dir.Close()
	sets, err := dir.Sets()
	return err != nil || len(sets) > 0
}

// placeNotes say where the sets lie, if that is because of a file system that is
// mounted noexec, or although it is.
func (a *Agent) placeNotes() []string {
	here, err := a.EngineDirectory()
	if err != nil {
		return nil // of which the report tells otherwise
	}
	second, _ := resolve(a.Paths.Second)
	switch {
	case engine.Noexec(here):
		return []string{"the definitions lie in " + here + ", which is mounted noexec, so no engine can be loaded from there; agent definitions path set moves them"}
	case here == second && engine.Noexec(a.Paths.Engine):
		return []string{"the definitions lie in " + here + ", since " + a.Paths.Engine + " is mounted noexec"}
	}
	return nil
}
