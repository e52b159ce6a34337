-- Numbers every event that tells of a category. Its version will not do: a category whose parent was renamed has another
-- path, of which is told, and the version that it had.
alter table catalog.category add column events bigint not null default 1;
