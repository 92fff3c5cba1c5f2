package loroindex

func (x *Index) startOrMigrate() ([]Op, error) { return nil, x.start() }
