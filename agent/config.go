package agent

import (
	"errors"
	"time"

	"mdatp-offline-agent/agent/state"
	"mdatp-offline-agent/managedconfig"
)

// configFile is one of the two configuration files as it was found.
type configFile struct {
	origin managedconfig.Origin
	path   string
	name   string // of its copy in the state directory
	data   []byte // nil: absent
	good   bool   // it was valid, or is absent
	absent bool   // it is not there
}

// vanishing is how long a file that was there must be away before it counts as
// absent in periodic runs: configuration management removes files before it
// writes them anew.
const vanishing = 10 * time.Minute

// configuration is step 1 of the cycle: what is in force, and what is wrong.
type configuration struct {
	settings managedconfig.Settings
	files    []configFile
	broken   error // the first file that can not be used; a copy may stand in for it
}

// readConfiguration reads and layers both files. Where one is broken, its last
// good copy stands in if standIn is set; without a copy, or where the copy held
// what is never taken from one (whom to trust), there is no configuration, only
// the error.
func (a *Agent) readConfiguration(store *state.Store, standIn bool) (configuration, error) {
	c := configuration{files: []configFile{
		{origin: managedconfig.OriginManaged, path: a.Paths.Managed, name: "managed.json"},
		{origin: managedconfig.OriginLocal, path: a.Paths.Local, name: "local.json"},
	}}
	var docs []managedconfig.Document
	for i := range c.files {
		doc, err := c.files[i].read()
		if err == nil && standIn {
			err = a.vanished(store, &c.files[i])
		}
		if err != nil {
			if c.broken == nil {
				c.broken = err
			}
			if doc, err = lastGood(store, c.files[i], standIn); err != nil {
				return c, c.broken
			}
		}
		docs = append(docs, doc)
	}
	c.settings = managedconfig.Resolve(docs...)
	if len(c.settings.Withheld) > 0 {
		return c, c.broken
	}
	return c, nil
}

func (f *configFile) read() (managedconfig.Document, error) {
	data, err := managedconfig.ReadFile(f.path)
	if err != nil {
		return managedconfig.Document{}, err
	}
	doc, err := managedconfig.Parse(managedconfig.Source{Origin: f.origin, File: f.path, Data: data})
	if err != nil {
		return managedconfig.Document{}, err
	}
	f.data, f.good, f.absent = data, true, data == nil
	return doc, nil
}

// vanished is the error of a file that was there not long ago.
func (a *Agent) vanished(store *state.Store, f *configFile) error {
	if !f.absent || store.LastGood(f.name) == nil {
		return nil
	}
	memory, err := recall(store)
	if err != nil {
		return nil // who may not read it, does not act on it either
	}
	if since, ok := memory.Missing[f.name]; ok && !a.Now().Before(since.Add(vanishing)) {
		return nil
	}
	f.good = false
	return &Failure{codeConfig, "the configuration file " + f.path + " has vanished", "put it back, or wait ten minutes until it counts as absent"}
}

var errNoCopy = errors.New("no last good copy")

func lastGood(store *state.Store, f configFile, standIn bool) (managedconfig.Document, error) {
	if !standIn {
		return managedconfig.Document{}, errNoCopy
	}
	data := store.LastGood(f.name)
	if data == nil {
		return managedconfig.Document{}, errNoCopy
	}
	return managedconfig.Parse(managedconfig.Source{Origin: managedconfig.OriginLastGood, File: f.path, Data: data})
}

// noteMissing remembers since when files are away whose copies are still kept.
func (c configuration) noteMissing(store *state.Store, memory *state.State, now time.Time) {
	for _, f := range c.files {
		since, noted := memory.Missing[f.name]
		noted = noted && !since.After(now) // or the clock was wrong then
		switch {
		case !f.absent || store.LastGood(f.name) == nil:
			delete(memory.Missing, f.name)
		case !noted:
			if memory.Missing == nil {
				memory.Missing = map[string]time.Time{}
			}
			memory.Missing[f.name] = now.UTC()
		}
	}
}

// keepLastGood keeps copies of the files that were valid.
func (c configuration) keepLastGood(store *state.Store) error {
	for _, f := range c.files {
		if !f.good {
			continue
		}
		if err := store.SaveLastGood(f.name, f.data); err != nil {
			return err
		}
	}
	return nil
}

// managed tells whether a value counts as one of the managed configuration.
func managed(o managedconfig.Origin) bool {
	return o == managedconfig.OriginManaged || o == managedconfig.OriginLastGood
}

// summary is what a report shows of the settings.
func summary(s managedconfig.Settings) *state.Settings {
	cloud, engine := s.CloudService, s.AntivirusEngine
	url := engine.OfflineDefinitionUpdateURL
	return &state.Settings{
		AutomaticUpdate: state.Setting[bool]{Value: cloud.AutomaticDefinitionUpdateEnabled.Value, Managed: managed(cloud.AutomaticDefinitionUpdateEnabled.Origin)},
		OfflineUpdate:   state.Setting[bool]{Value: engine.OfflineDefinitionUpdate.Value, Managed: managed(engine.OfflineDefinitionUpdate.Origin)},
		OfflineURL:      state.Setting[string]{Value: url.Value.Raw, Managed: managed(url.Origin)},
		FallbackToCloud: state.Setting[bool]{Value: engine.OfflineDefinitionUpdateFallbackToCloud.Value, Managed: managed(engine.OfflineDefinitionUpdateFallbackToCloud.Origin)},
		DueDays:         cloud.DefinitionUpdateDue.Value,
		Enforcement:     state.Setting[string]{Value: engine.EnforcementLevel.Value, Managed: managed(engine.EnforcementLevel.Origin)},
		Profile:         s.Agent.Trust.Profile.Value,
	}
}

// Settings gives the configuration in force, for people who look at it. What is
// broken is an error.
func (a *Agent) Settings() (managedconfig.Settings, error) {
	config, err := a.readConfiguration(state.View(a.Paths.State), false)
	return config.settings, err
}

// Ring is the ring that packages must be for, as far as the configuration can
// be read.
func (a *Agent) Ring() string {
	settings, err := a.Settings()
	if err != nil {
		settings = managedconfig.Defaults()
	}
	return ringOf(settings)
}
